import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import sdk from "runpod-sdk"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"

const serve = NodeEmulator.serve({
  apiKey: "key",
  endpoints: {
    echo: {},
    slow: { execution: "1 hour", workers: 1 },
    held: { execution: "50 millis" },
    words: { handler: () => Stream.make("a", "b") }
  }
})

const endpointOf = (id: string) =>
  Effect.map(serve, ({ url, ...emulator }) => {
    const endpoint = sdk("key", { baseUrl: url }).endpoint(id)
    assert.isNotNull(endpoint)
    return { endpoint, emulator }
  })

describe("the npm package runpod-sdk, unchanged", () => {
  it.scopedLive("run and status", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* endpointOf("echo")
      const { id, status } = yield* Effect.promise(() => endpoint.run({ input: { n: 1 } }))
      assert.strictEqual(status, "IN_QUEUE")
      const job: object = yield* Effect.promise(() => endpoint.status(id))
      assert.deepInclude(job, { id, status: "COMPLETED", output: { n: 1 }, completed: true, succeeded: true })
    })
  )

  it.scopedLive("runSync waits for the output", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* endpointOf("held")
      const job = yield* Effect.promise(() => endpoint.runSync({ input: { n: 1 } }))
      assert.deepInclude(job, { status: "COMPLETED", output: { n: 1 } })
      assert.isAtLeast(job.executionTime, 50)
    })
  )

  it.scopedLive("stream yields every chunk once", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* endpointOf("words")
      const { id } = yield* Effect.promise(() => endpoint.run({ input: { n: 1 } }))
      const chunks = yield* Stream.runCollect(Stream.fromAsyncIterable(endpoint.stream(id), (error) => error))
      assert.deepStrictEqual(Array.from(chunks), [{ output: "a" }, { output: "b" }])
    })
  )

  it.scopedLive("cancel, health and purgeQueue", () =>
    Effect.gen(function* () {
      const { emulator, endpoint } = yield* endpointOf("slow")
      const submit = Effect.promise(() => endpoint.run({ input: { n: 1 } }))
      const { id } = yield* submit
      yield* submit
      const health: object = yield* Effect.promise(() => endpoint.health())
      assert.deepStrictEqual(health, {
        jobs: { completed: 0, failed: 0, inProgress: 1, inQueue: 1, retried: 0 },
        workers: { idle: 0, initializing: 0, ready: 0, running: 1, throttled: 0, unhealthy: 0 }
      })
      assert.deepStrictEqual(yield* Effect.promise(() => endpoint.purgeQueue()), { removed: 1, status: "completed" })
      assert.deepInclude(yield* Effect.promise(() => endpoint.cancel(id)), { id, status: "CANCELLED" })
      assert.strictEqual((yield* emulator.counts).ended.CANCELLED, 1)
    })
  )
})
