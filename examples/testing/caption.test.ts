/**
 * Tests of a program that uses RunPod: against the emulator, under TestClock. Minutes pass in milliseconds.
 */
import { assert, it } from "@effect/vitest"
import * as Emulator from "effect-runpod/Emulator"
import { type Duration, Effect, Fiber, TestClock } from "effect"
import { caption } from "./caption.js"

// `layerRunPod` provides the client, and the control of the emulator.
const emulated = (captioner: Emulator.EndpointOptions) =>
  Effect.provide(Emulator.layerRunPod({ endpoints: { captioner } }))

/** Runs an effect while the clock moves on. */
const during = <A, E, R>(effect: Effect.Effect<A, E, R>, time: Duration.DurationInput) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust(time)
    return yield* Fiber.join(fiber)
  })

it.effect("a cold worker is waited for", () =>
  during(caption("cat.png"), "1 minute").pipe(
    Effect.tap((text) => assert.strictEqual(text, "cat.png shows a cat")),
    emulated({
      coldStart: "45 seconds",
      handler: ({ image }) => Effect.succeed({ text: `${image} shows a cat` })
    })
  )
)

it.effect("after five minutes it gives up, and the job is cancelled", () =>
  Effect.gen(function* () {
    const text = yield* during(caption("cat.png"), "5 minutes")
    assert.strictEqual(text, "(no caption)")

    // The cancel runs in the background: let it get there, then look at the job from RunPod's side.
    yield* TestClock.adjust("1 second")
    const { jobs } = yield* Emulator.Emulator
    const [job] = yield* jobs("captioner")
    assert.strictEqual(job?.status, "CANCELLED")
  }).pipe(emulated({ execution: "1 hour" }))
)

it.effect("an outage of half a minute goes by unnoticed", () =>
  Effect.gen(function* () {
    const { setFaults } = yield* Emulator.Emulator
    const fiber = yield* Effect.fork(caption("cat.png"))
    yield* TestClock.adjust("1 second")
    yield* setFaults([Emulator.Fault.serverError({ status: 503 })])
    yield* TestClock.adjust("30 seconds")
    yield* setFaults([])
    yield* TestClock.adjust("1 minute")
    assert.strictEqual(yield* Fiber.join(fiber), "a cat")
  }).pipe(emulated({ handler: () => Effect.delay(Effect.succeed({ text: "a cat" }), "20 seconds") }))
)

it.effect("a handler that fails is an error with its message", () =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(caption("cat.png"))
    assert(error._tag === "JobFailedError")
    assert.strictEqual(error.detail, "cat.png is not an image")
  }).pipe(emulated({ handler: ({ image }) => Effect.fail(new Error(`${image} is not an image`)) }))
)
