import { assert, it } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import * as Emulator from "effect-runpod/Emulator"
import * as Warmth from "../../src/internal/warmth.js"

const asked = Effect.map(
  Effect.flatMap(Emulator.Emulator, ({ counts }) => counts),
  ({ byOperation }) => byOperation.health.total
)

const world = (faults: ReadonlyArray<Emulator.Fault.Fault> = []) =>
  Effect.provide(Emulator.layerRunPod({ endpoints: { llm: { workers: { min: 1, max: 1 } } }, faults }))

it.effect("calls that ask at once share one request, and so do those of the next 5 seconds", () =>
  Effect.gen(function* () {
    const isWarm = yield* Warmth.make("llm")
    const answers = yield* Effect.all(
      Array.from({ length: 1000 }, () => isWarm),
      { concurrency: "unbounded" }
    )
    assert.isTrue(answers.every((warm) => warm))
    yield* TestClock.adjust("4 seconds")
    assert.isTrue(yield* isWarm)
    assert.strictEqual(yield* asked, 1)
    yield* TestClock.adjust("1 second")
    assert.isTrue(yield* isWarm)
    assert.strictEqual(yield* asked, 2)
  }).pipe(world())
)

it.effect("a call that is interrupted while it asks takes the answer from nobody else", () =>
  Effect.gen(function* () {
    const isWarm = yield* Warmth.make("llm")
    const first = yield* Effect.fork(isWarm)
    yield* TestClock.adjust("500 millis")
    const second = yield* Effect.fork(isWarm)
    yield* Fiber.interrupt(first)
    yield* TestClock.adjust("500 millis")
    assert.isTrue(yield* Fiber.join(second))
    assert.strictEqual(yield* asked, 1)
  }).pipe(world([Emulator.Fault.delay({ operations: ["health"], by: "1 second" })]))
)

it.effect("an endpoint that does not say for 3 seconds has no worker", () =>
  Effect.gen(function* () {
    const asking = yield* Effect.fork(yield* Warmth.make("llm"))
    yield* TestClock.adjust("3 seconds")
    assert.isFalse(yield* Fiber.join(asking))
  }).pipe(world([Emulator.Fault.delay({ operations: ["health"], by: "1 minute" })]))
)
