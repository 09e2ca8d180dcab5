import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import { type BodyError, handle } from "../../../src/internal/webhooks/handler.js"
import { Webhooks } from "../../../src/internal/webhooks/tag.js"
import * as Services from "../../../src/services/Webhooks.js"
import * as WebhookStore from "../../../src/layers/WebhookStore.js"

const layer = Layer.provide(
  Services.layer({
    secret: "0123456789abcdef0123456789abcdef",
    url: "https://app.example/hooks",
    readTimeout: "30 millis"
  }),
  WebhookStore.layerMemory()
)

/** What a genuine delivery is answered whose body is read so. */
const answer = (readBody: Effect.Effect<Uint8Array, BodyError>) =>
  Effect.gen(function* () {
    const service = yield* Webhooks
    const url = yield* service.issue({ endpointId: "ep", key: "one" })
    const request = { method: "POST", url: String(url), headers: {}, readBody: () => readBody }
    return yield* handle(service, request)
  })

const body = new TextEncoder().encode(JSON.stringify({ id: "job-1", status: "COMPLETED", output: 1 }))

describe("the body of a delivery", () => {
  const cases: ReadonlyArray<readonly [string, Effect.Effect<Uint8Array, BodyError>, number]> = [
    ["is read", Effect.succeed(body), 200],
    ["that never comes is given up", Effect.never, 408],
    ["that breaks off is refused", Effect.fail("Broken"), 400]
  ]
  for (const [name, readBody, status] of cases) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const fiber = yield* Effect.fork(answer(readBody))
        yield* TestClock.adjust(30)
        assert.strictEqual(yield* Fiber.join(fiber), status)
      }).pipe(Effect.provide(layer))
    )
  }

  it.live("that has come while the process was suspended past the deadline is read", () =>
    Effect.gen(function* () {
      const suspended = Effect.async<Uint8Array, BodyError>((resume) => {
        // Timers follow immediates, and sockets are read after timers.
        setImmediate(() => {
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60)
          setImmediate(() => resume(Effect.succeed(body)))
        })
      })
      assert.strictEqual(yield* answer(suspended), 200)
    }).pipe(Effect.provide(layer))
  )
})
