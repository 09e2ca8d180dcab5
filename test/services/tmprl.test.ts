import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as RateLimiter from "../../src/services/RateLimiter.js"
it.effect("interruptible", () => Effect.gen(function*(){
  const l = yield* RateLimiter.make({ limit: 1, window: "1 hour" })
  yield* l.withPermit(Effect.void)
  const f = yield* Effect.fork(l.withPermit(Effect.void))
  yield* TestClock.adjust("1 second")
  const i = yield* Effect.fork(Fiber.interrupt(f))
  yield* TestClock.adjust("1 second")
  assert.isTrue((yield* Fiber.poll(i))._tag === "Some")
}))
