import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as Schema from "effect/Schema"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Prometheus from "../../src/services/Prometheus.js"
import * as Exposition from "../support/exposition.js"
import { finish } from "../support/finish.js"

/** The text of the metrics whose names begin so. */
const textOf = (prefix: string) => Prometheus.format({ filter: (name) => name.startsWith(prefix) })

describe("Prometheus.format", () => {
  it.effect("prints counters and gauges, with help, unit and labels", () =>
    Effect.gen(function* () {
      const counter = Metric.counter("pm1_asked", { description: "How often\nC:\\ was asked", incremental: true })
      yield* Metric.incrementBy(Metric.tagged(counter, "who", 'a "friend" of\nC:\\'), 3)
      yield* Metric.incrementBy(Metric.tagged(Metric.counter("pm1_level"), "unit", "1"), -2)
      yield* Metric.set(Metric.tagged(Metric.gauge("pm1_age", { bigint: true }), "unit", "s"), 9007199254740993n)
      const spent = Metric.counter("pm1_spent_usd", { incremental: true }).pipe(Metric.tagged("unit", "USD"))
      yield* Metric.incrementBy(spent, 0.25)
      assert.strictEqual(
        yield* textOf("pm1_"),
        [
          "# HELP pm1_asked_total How often\\nC:\\\\ was asked",
          "# TYPE pm1_asked_total counter",
          'pm1_asked_total{who="a \\"friend\\" of\\nC:\\\\"} 3',
          "# TYPE pm1_level gauge",
          "pm1_level -2",
          "# TYPE pm1_age_seconds gauge",
          "pm1_age_seconds 9007199254740993",
          "# TYPE pm1_spent_usd_total counter",
          "pm1_spent_usd_total 0.25",
          ""
        ].join("\n")
      )
    })
  )

  it.effect("prints the buckets of a histogram one upon the other, and +Inf once", () =>
    Effect.gen(function* () {
      const bounds = MetricBoundaries.exponential({ start: 0.5, factor: 2, count: 3 })
      const empty = Metric.histogram("pm2_time", bounds).pipe(Metric.tagged("unit", "s"))
      const used = Metric.tagged(empty, "le", "mine")
      yield* Effect.forEach([0, 0.5, 0.6, 1e9, Infinity], (value) => Metric.update(used, value))
      yield* Metric.value(empty)
      const text = yield* textOf("pm2_")
      assert.strictEqual(
        text,
        [
          "# TYPE pm2_time_seconds histogram",
          'pm2_time_seconds_bucket{exported_le="mine",le="0.5"} 2',
          'pm2_time_seconds_bucket{exported_le="mine",le="1"} 3',
          'pm2_time_seconds_bucket{exported_le="mine",le="+Inf"} 5',
          'pm2_time_seconds_sum{exported_le="mine"} +Inf',
          'pm2_time_seconds_count{exported_le="mine"} 5',
          'pm2_time_seconds_bucket{le="0.5"} 0',
          'pm2_time_seconds_bucket{le="1"} 0',
          'pm2_time_seconds_bucket{le="+Inf"} 0',
          "pm2_time_seconds_sum 0",
          "pm2_time_seconds_count 0",
          ""
        ].join("\n")
      )
      Exposition.read(text)
    })
  )

  it.effect("prints Effect's frequencies, summaries and timers", () =>
    Effect.gen(function* () {
      const words = Metric.frequency("pm3_words", { preregisteredWords: ["never"] })
      yield* Effect.forEach(["a", "b", "a"], (word) => Metric.update(words, word))
      const sizes = Metric.summary({ name: "pm3_sizes", maxAge: "1 day", maxSize: 10, error: 0.1, quantiles: [0.5] })
      yield* Metric.update(Metric.tagged(sizes, "quantile", "mine"), 4)
      yield* Metric.value(Metric.tagged(sizes, "empty", "yes"))
      yield* Metric.trackDuration(Effect.void, Metric.timer("pm3_timer"))
      const families = Exposition.read(yield* textOf("pm3_"))
      assert.deepStrictEqual(
        families.get("pm3_words_total")?.samples.map(({ labels, value }) => [labels["key"], value]),
        [
          ["never", 0],
          ["a", 2],
          ["b", 1]
        ]
      )
      const summary = families.get("pm3_sizes")
      assert(summary?.type === "summary")
      assert.sameDeepMembers(summary.samples, [
        { name: "pm3_sizes", labels: { exported_quantile: "mine", quantile: "0.5" }, value: 4 },
        { name: "pm3_sizes_sum", labels: { exported_quantile: "mine" }, value: 4 },
        { name: "pm3_sizes_count", labels: { exported_quantile: "mine" }, value: 1 },
        { name: "pm3_sizes", labels: { empty: "yes", quantile: "0.5" }, value: NaN },
        { name: "pm3_sizes_sum", labels: { empty: "yes" }, value: 0 },
        { name: "pm3_sizes_count", labels: { empty: "yes" }, value: 0 }
      ])
      assert.strictEqual(families.get("pm3_timer_milliseconds")?.type, "histogram")
    })
  )

  it.effect("makes names and labels valid, and keeps one type for each name and one line for each series", () =>
    Effect.gen(function* () {
      yield* Metric.increment(Metric.counter("pm4 ünits/s.total", { incremental: true }))
      const strange = Metric.gauge("pm4_gauge").pipe(
        Metric.tagged("1st", "x"),
        Metric.tagged("__name__", "y"),
        Metric.tagged("a-b", "1"),
        Metric.tagged("a:b", "2"),
        Metric.tagged("unit", "m/s")
      )
      yield* Metric.set(strange, NaN)
      yield* Metric.set(Metric.gauge("pm4_same"), 1)
      yield* Metric.set(Metric.gauge("pm4_same", { description: "described elsewhere" }), 2)
      yield* Metric.update(Metric.histogram("pm4_same", MetricBoundaries.linear({ start: 1, width: 1, count: 2 })), 3)
      const families = Exposition.read(yield* textOf("pm4"))
      assert.deepStrictEqual(
        Array.from(families, ([name, { samples, type }]) => [name, type, samples[0]?.labels]),
        [
          ["pm4__nits_s_total", "counter", {}],
          ["pm4_gauge_m_s", "gauge", { _1st: "x", _name__: "y", a_b: "1;2" }],
          ["pm4_same", "gauge", {}],
          ["pm4_same_histogram", "histogram", { le: "1" }]
        ]
      )
      assert.deepStrictEqual(families.get("pm4_same")?.samples, [{ name: "pm4_same", labels: {}, value: 1 }])
    })
  )

  it.effect("has what belongs to an endpoint from its making on", () =>
    Effect.gen(function* () {
      const made = Endpoint.make("prometheus", { input: Schema.Unknown, output: Schema.Unknown })
      yield* finish(Effect.provide(made, Emulator.layerRunPod({ endpoints: { prometheus: {} } })))
      const families = Exposition.read(yield* textOf("runpod_"))
      const valueOf = (family: string, labels: object) =>
        families
          .get(family)
          ?.samples.find(
            (sample) => JSON.stringify(sample.labels) === JSON.stringify({ endpoint: "prometheus", ...labels })
          )?.value
      assert.strictEqual(valueOf("runpod_jobs_ended_total", { status: "COMPLETED" }), 0)
      assert.strictEqual(valueOf("runpod_requests_total", { operation: "run" }), 0)
      assert.strictEqual(valueOf("runpod_cost_usd_total", {}), 0)
      assert.strictEqual(valueOf("runpod_batch_eta_seconds", {}), 0)
      const bounds = families
        .get("runpod_wait_time_seconds")
        ?.samples.filter(({ labels, name }) => labels["endpoint"] === "prometheus" && name.endsWith("_bucket"))
        .map(({ labels }) => labels["le"])
      assert.deepStrictEqual(bounds, [...Array.from({ length: 18 }, (_, n) => String(0.05 * 2 ** n)), "+Inf"])
    })
  )
})
