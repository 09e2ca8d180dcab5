import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Flight from "../../src/services/Flight.js"
import * as RunPod from "../../src/services/RunPod.js"
import * as Webhooks from "../../src/services/Webhooks.js"
import { finish } from "../support/finish.js"

const { Fault } = Emulator

/** Jobs of many kinds: some fail, some take longer than their item may. */
const work: Emulator.Handler = ({ n }, { progress }) =>
  Effect.gen(function* () {
    const number = Number(n)
    yield* Effect.sleep(500 + ((number * 7919) % 40) * 500)
    if (number % 13 === 5) return yield* Effect.fail(new Error(`nothing for ${number}`))
    yield* progress("half")
    if (number % 29 === 3) yield* Effect.sleep("10 minutes")
    return { result: "r".repeat(number % 7), of: [number] }
  })

const faults = (seed: number): ReadonlyArray<Emulator.Fault.Fault> => [
  Fault.serverError({ status: 503, body: "html", between: { from: "12 seconds", until: "14 seconds" } }),
  Fault.rateLimited({ retryAfter: "2 seconds", between: { from: "20 seconds", until: "21 seconds" } }),
  Fault.refused({ operations: ["run"], rate: 0.05 }),
  Fault.rateLimited({ rate: 0.03 }),
  Fault.resetAfter({ rate: 0.02 }),
  Fault.truncated({ rate: 0.01 + (seed % 3) * 0.01 }),
  Fault.cutBody({ rate: 0.01 }),
  Fault.hang({ rate: 0.002, processed: true }),
  Fault.htmlOk({ operations: ["status", "statusSync"], rate: 0.02 }),
  Fault.notVisibleYet({ for: "1 second", rate: 0.3 }),
  Fault.outputMissing({ rate: 0.05 })
]

const worldOf = (seed: number): Emulator.Options => ({
  endpoints: { ep: { workers: 12, coldStart: { min: "1 second", max: "20 seconds" }, handler: work } },
  faults: faults(seed),
  seed
})

interface Schedule {
  readonly items: number
  readonly concurrency?: number | undefined
  readonly poll?: Batch.Options<unknown>["poll"]
  /** Of the client's jitter. */
  readonly chance?: number | undefined
}

/** How each item ended, by its index. */
const batch = ({ chance = 0, items, ...schedule }: Schedule) =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make("ep", {
      input: Schema.Struct({ n: Schema.Number }),
      output: Schema.Unknown
    })
    const inputs = Array.from({ length: items }, (_, n) => ({ n }))
    const report = yield* Batch.collect(endpoint, inputs, { timeout: "5 minutes", ...schedule })
    return report.results.map(({ result }) =>
      Exit.match(result, {
        onSuccess: () => "COMPLETED",
        onFailure: (cause) =>
          Option.match(Cause.failureOption(cause), { onNone: () => "Defect", onSome: ({ _tag }) => _tag })
      })
    )
  }).pipe(Effect.withRandom(Random.make(chance)))

/** Runs a program in a world, and records it. */
const record = <A, E>(
  program: Effect.Effect<A, E, RunPod.RunPod>,
  world: Emulator.RunPodOptions,
  options: Flight.Options = {}
) =>
  Effect.gen(function* () {
    const { layer, recording } = yield* Flight.inMemory(options)
    const hooks = Webhooks.layer({ secret: "a-secret-of-32-characters-for-tests", url: "https://app.example/hooks" })
    const all = Layer.provide(Layer.provideMerge(Emulator.layerRunPod(world), hooks), layer)
    const ends = yield* Effect.provide(program, all)
    return { ends, recording: yield* recording }
  }).pipe(Logger.withMinimumLogLevel(LogLevel.None), (flight) => finish(flight, "4 hours"))

/** Runs the batch in a world, and records it. */
const fly = (world: Emulator.RunPodOptions, schedule: Schedule, options: Flight.Options = {}) =>
  record(batch(schedule), world, options)

const replay = (recording: Flight.Recording, schedule: Schedule, client: Emulator.RunPodOptions["client"] = {}) =>
  fly({ ...Emulator.fromFlight(recording, { endpoints: ["ep"] }), client }, schedule)

/** What was sent and how it ended, without the values of inputs and outputs. */
const withoutValues = ({ attempts }: Flight.Recording) =>
  attempts.map(({ end, submit, ...attempt }) => [
    attempt,
    submit?.input,
    end._tag === "Answer" ? [end.status, end.body, end.job?.status, end.job?.delayTime, end.job?.executionTime] : end
  ])

/** The kinds of faults that were met. */
const kindsOf = ({ attempts }: Flight.Recording) => {
  const kinds = attempts.map(({ end }) => {
    if (end._tag === "NoAnswer") return `${end.error} ${end.sent}`
    if (end._tag === "GivenUp" || (end.status < 300 && end.body === "Json")) return ""
    return end.status < 300 ? end.body : String(end.status)
  })
  return [...new Set(kinds)].sort()
}

describe("the world of a recording", () => {
  it.live("has the same outcomes and faults for a batch of 150, whatever its schedule", () =>
    Effect.gen(function* () {
      const schedule = { items: 150, concurrency: 40 }
      const { ends, recording } = yield* fly(worldOf(1), schedule)
      assert.isAbove(new Set(ends).size, 4)
      assert.includeMembers(kindsOf(recording), [
        "404",
        "429",
        "503",
        "Cut",
        "Html",
        "RequestTimeoutError Maybe",
        "TransportError Maybe",
        "TransportError No"
      ])

      const same = yield* replay(recording, schedule)
      assert.deepStrictEqual(same.ends, ends)
      assert.deepStrictEqual(Flight.outcomes(same.recording), Flight.outcomes(recording))
      assert.deepStrictEqual(kindsOf(same.recording), kindsOf(recording))

      const other = yield* replay(recording, {
        items: 150,
        concurrency: 100,
        chance: 9,
        poll: { initial: "5 seconds" }
      })
      assert.deepStrictEqual(other.ends, ends)
      assert.deepStrictEqual(Flight.outcomes(other.recording), Flight.outcomes(recording))
      assert.notStrictEqual(other.recording.attempts.length, recording.attempts.length)
    })
  )

  for (const seed of [2, 3]) {
    it.live(`is met attempt for attempt by the same schedule, and through its own recording (seed ${seed})`, () =>
      Effect.gen(function* () {
        const schedule = { items: 25, concurrency: 8, chance: seed }
        const { ends, recording } = yield* fly(worldOf(seed), schedule, { mode: "hash" })
        const second = yield* replay(recording, schedule)
        assert.deepStrictEqual(second.ends, ends)
        assert.deepStrictEqual(withoutValues(second.recording), withoutValues(recording))
        const faster = { items: 25, concurrency: 12, chance: seed + 10, poll: { interval: "1 second" } } as const
        const third = yield* replay(second.recording, faster)
        assert.deepStrictEqual(third.ends, ends)
      })
    )
  }
})

/** Runs a program in a world and again in that of its recording, and gives what it said both times. */
const twice = <A, E>(
  program: Effect.Effect<A, E, RunPod.RunPod>,
  world: Emulator.RunPodOptions,
  more: Emulator.FlightOptions = {}
) =>
  Effect.gen(function* () {
    const first = yield* record(program, world, { mode: "keep" })
    const compiled = Emulator.fromFlight(first.recording, { endpoints: ["ep"], ...more })
    const second = yield* record(program, compiled)
    assert.deepStrictEqual(Flight.outcomes(second.recording), Flight.outcomes(first.recording))
    return { compiled, first, second }
  })

const makeEndpoint = Endpoint.make("ep", { input: Schema.Unknown, output: Schema.Unknown })

describe("what a recording has of", () => {
  it.live("a submit whose answer was lost and whose webhook came: it is lost and found again", () =>
    Effect.gen(function* () {
      const call = Effect.flatMap(makeEndpoint, (endpoint) => endpoint.call({ n: 1 }, { webhook: true }))
      const world: Emulator.RunPodOptions = {
        endpoints: { ep: { execution: "30 seconds" } },
        faults: [Fault.resetAfter({ operations: ["run"], times: 1 })]
      }
      const { compiled, first, second } = yield* twice(call, world)
      assert.deepStrictEqual([first.ends, second.ends], [{ n: 1 }, { n: 1 }])
      assert.strictEqual(second.recording.attempts[0]?.end._tag, "NoAnswer")
      const [plan] = compiled.endpoints["ep"]?.submits ?? []
      assert.strictEqual(plan?.fault?._tag, "ResetBefore")
      assert.deepInclude(plan?.runs?.[0], { startAfter: 0, endAfter: 30_000 })
    })
  )

  it.live("a job that was retried: it fails and then ends again", () =>
    Effect.gen(function* () {
      let runs = 0
      const handler: Emulator.Handler = () =>
        Effect.delay(runs++ === 0 ? Effect.fail(new Error("not yet")) : Effect.succeed("done"), "20 seconds")
      const program = Effect.gen(function* () {
        const endpoint = yield* makeEndpoint
        const job = yield* endpoint.run({ n: 1 })
        const error = yield* Effect.flip(job.result())
        yield* job.retry
        return [error._tag, yield* job.result()]
      })
      const { first, second } = yield* twice(program, { endpoints: { ep: { handler } } })
      assert.deepStrictEqual(first.ends, ["JobFailedError", "done"])
      assert.deepStrictEqual(second.ends, first.ends)
    })
  )

  it.live("progress and chunks: they come at their times, to a client that asks more often, too", () =>
    Effect.gen(function* () {
      const handler: Emulator.Handler = () =>
        Stream.fromIterable(["a", "b", "c"]).pipe(
          Stream.mapEffect((chunk) => Effect.delay(Effect.succeed(chunk), 7_000))
        )
      const program = Effect.gen(function* () {
        const endpoint = yield* makeEndpoint
        const job = yield* endpoint.run({ n: 1 })
        const chunks = yield* Effect.map(Stream.runCollect(job.stream()), (chunk) => [...chunk])
        return [chunks, yield* Effect.map(Effect.clock, (clock) => clock.unsafeCurrentTimeMillis())]
      })
      const { first, second } = yield* twice(program, { endpoints: { ep: { handler } } })
      assert.deepStrictEqual(first.ends, [["a", "b", "c"], 21_000])
      assert.deepStrictEqual(second.ends, first.ends)
    })
  )

  it.live("an outage and a key that was taken back: they last as long for any schedule", () =>
    Effect.gen(function* () {
      const poll = (every: number) =>
        Effect.gen(function* () {
          const runPod = yield* RunPod.RunPod
          const seen: Array<string> = []
          for (let at = 0; at < 60_000; at += every) {
            const health = yield* Effect.either(runPod.health("ep"))
            seen.push(health._tag === "Left" ? health.left._tag : "up")
            yield* Effect.sleep(every)
          }
          return seen
        })
      const world: Emulator.RunPodOptions = {
        endpoints: { ep: {} },
        client: { retry: RetryPolicy.make({ maxAttempts: 1 }) },
        faults: [
          Fault.serverError({ between: { from: "10 seconds", until: "20 seconds" } }),
          Fault.serverError({ status: 401, between: { from: "40 seconds" } })
        ]
      }
      const { recording } = yield* record(poll(2_000), world)
      const compiled = Emulator.fromFlight(recording, { endpoints: ["ep"] })
      const windows = compiled.faults?.map(({ _tag, between }) => [_tag, between?.from, between?.until])
      assert.deepStrictEqual(windows, [
        ["ServerError", 10_000, 18_001],
        ["ServerError", 40_000, Infinity]
      ])
      const other = yield* record(poll(500), { ...compiled, client: world.client })
      const count = (tag: string) => other.ends.filter((end) => end === tag).length
      assert.deepStrictEqual([count("ServerError"), count("AuthenticationError"), count("up")], [17, 40, 63])
    })
  )

  it.live("outputs: values of one's own may stand for what the recording does not hold", () =>
    Effect.gen(function* () {
      const program = Effect.flatMap(makeEndpoint, (endpoint) => endpoint.call({ n: 1 }))
      const { recording } = yield* record(program, { endpoints: { ep: { execution: "1 second" } } })
      const replayed = (output?: Emulator.FlightOptions["output"]) =>
        Effect.map(record(program, Emulator.fromFlight(recording, { endpoints: ["ep"], output })), ({ ends }) => ends)
      assert.deepStrictEqual(yield* replayed(), { field1: 0 })
      assert.deepStrictEqual(yield* replayed(({ job, standIn }) => ({ job, standIn })), {
        job: "j1",
        standIn: { field1: 0 }
      })
    })
  )
})
