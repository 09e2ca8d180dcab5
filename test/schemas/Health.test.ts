import { assert, describe, it } from "@effect/vitest"
import * as Health from "effect-runpod/Health"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"

describe("Health.fromReply", () => {
  it("reads every gauge", () => {
    const body = {
      jobs: { completed: 40, failed: 2, inProgress: 3, inQueue: 9, retried: 1 },
      workers: { idle: 1, initializing: 2, ready: 4, running: 3, throttled: 5, unhealthy: 6 }
    }
    assert.deepStrictEqual(Either.getOrThrow(Health.fromReply(body)), { ...body, raw: body })
  })

  it.each<[string, unknown, Health.Jobs, Health.Workers]>([
    [
      "two worker keys",
      { jobs: { inQueue: 2 }, workers: { idle: 0, running: 0 } },
      { inQueue: 2 },
      { idle: 0, running: 0 }
    ],
    ["no jobs", { workers: { ready: 1 } }, {}, { ready: 1 }],
    ["no workers", { jobs: { completed: 1 } }, { completed: 1 }, {}],
    ["null jobs", { jobs: null, workers: {} }, {}, {}],
    ["wrong types", { jobs: { inQueue: "2", failed: null, completed: 1 }, workers: [] }, { completed: 1 }, {}],
    ["unknown keys", { jobs: {}, workers: { standby: 4, idle: 1 } }, {}, { idle: 1 }]
  ])("with %s, a missing number is unknown, not zero", (_, body, jobs, workers) => {
    const health = Either.getOrThrow(Health.fromReply(body))
    assert.deepStrictEqual(health.jobs, jobs)
    assert.deepStrictEqual(health.workers, workers)
    assert.strictEqual<unknown>(health.raw, body)
  })

  it.each<[unknown, string]>([
    ["<html>gateway</html>", "expected the endpoint's health, got a string"],
    [null, "expected the endpoint's health, got null"],
    [[], "expected the endpoint's health, got an array"],
    [{}, `expected "jobs" or "workers", got neither`],
    [{ jobs: 3, workers: "idle" }, `expected "jobs" or "workers", got neither`]
  ])("refuses %j", (body, sentence) => {
    assert.deepStrictEqual(Health.fromReply(body), Either.left(sentence))
  })

  it("is what the schema decodes to, and encodes back from", () => {
    const body = { jobs: { inQueue: 1 }, workers: { idle: 1, standby: 2 } }
    const health = Schema.decodeUnknownSync(Health.Health)(body)
    assert.strictEqual(health.workers.idle, 1)
    assert.deepStrictEqual(Schema.encodeSync(Health.Health)(health), body)
  })
})
