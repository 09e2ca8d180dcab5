import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import { pipe } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Health from "../../src/schemas/Health.js"
import * as QueueDiagnosis from "../../src/schemas/QueueDiagnosis.js"
import * as Arbitraries from "../support/arbitraries.js"

const health = (workers: Health.Workers, jobs: Health.Jobs = {}): Health.Health => ({ jobs, workers, raw: {} })
const none = { idle: 0, initializing: 0, ready: 0, running: 0, throttled: 0, unhealthy: 0 }

describe("QueueDiagnosis", () => {
  const cases: ReadonlyArray<readonly [string, Health.Health | "Paused", QueueDiagnosis.Reason | undefined, string]> = [
    ["no workers at all", health(none), "NoWorkers", "no workers"],
    ["one gauge is enough to know that there are none", health({ running: 0 }), "NoWorkers", "no workers"],
    ["workers that get no hardware", health({ ...none, throttled: 2 }), "Throttled", "2 workers cannot start"],
    ["workers that fail", health({ ...none, unhealthy: 1 }), "Unhealthy", "1 worker failed"],
    ["more that fail than wait", health({ ...none, unhealthy: 2, throttled: 1 }), "Unhealthy", "worker's log"],
    ["more that wait than fail", health({ ...none, unhealthy: 1, throttled: 2 }), "Throttled", "GPU"],
    ["workers that start", health({ ...none, initializing: 1, throttled: 2 }), "Initializing", "cold start"],
    ["a worker that is ready and may start cold", health({ ...none, ready: 1, idle: 1 }), "Initializing", "cold start"],
    [
      "others' turn",
      health({ ...none, running: 3, throttled: 2 }, { inQueue: 12 }),
      "Busy",
      "12 jobs in the queue, and 3"
    ],
    ["jobs in progress and nothing of workers", health({}, { inProgress: 2 }), "Busy", "2 workers at work"],
    ["a paused endpoint", "Paused", "Paused", "paused"],
    ["gauges that do not say", health({}), undefined, ""],
    ["gauges that say only what is not", health({ throttled: 0, unhealthy: 0 }), undefined, ""]
  ]
  for (const [name, condition, reason, text] of cases) {
    it(`${name}: ${reason ?? "no diagnosis"}`, () => {
      const diagnosis = QueueDiagnosis.fromHealth(condition, { queuedFor: 1_000.4 })
      assert.strictEqual(diagnosis?.reason, reason)
      if (diagnosis === undefined) return
      assert.include(diagnosis.message, text)
      assert.strictEqual(diagnosis.queuedFor, 1_000)
      assert.isFalse("usualDelay" in diagnosis)
    })
  }

  it("can be piped", () => {
    const queued = { queuedFor: 1_000 }
    assert.deepStrictEqual(
      pipe(health(none), QueueDiagnosis.fromHealth(queued)),
      QueueDiagnosis.fromHealth(health(none), queued)
    )
  })

  it("says what is usual, and keeps the numbers", () => {
    const diagnosis = QueueDiagnosis.fromHealth(health({ running: 1 }, { inQueue: 7 }), {
      queuedFor: 90_000,
      usualDelay: 2_000
    })
    assert.deepInclude(diagnosis, { usualDelay: 2_000, jobsInQueue: 7, workers: { running: 1 } })
  })

  it.prop("goes through JSON and its schema, whatever the health was", [Arbitraries.reply], ([reply]) => {
    // JSON text has no -0.
    const diagnosis = Either.match(Health.fromReply(JSON.parse(JSON.stringify(reply) ?? "null")), {
      onLeft: () => undefined,
      onRight: (health) => QueueDiagnosis.fromHealth(health, { queuedFor: 5, usualDelay: undefined })
    })
    if (diagnosis === undefined) return
    const text = JSON.stringify(Schema.encodeSync(QueueDiagnosis.QueueDiagnosis)(diagnosis))
    assert.deepStrictEqual(Schema.decodeUnknownSync(QueueDiagnosis.QueueDiagnosis)(JSON.parse(text)), diagnosis)
  })
})
