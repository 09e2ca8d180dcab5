/**
 * At most 100 requests in any minute, over 200 requests, without waiting for it: TestClock makes the minutes pass.
 *
 * Always on the emulator.
 */
import { NodeRuntime } from "@effect/platform-node"
import { RateLimits, RunPod } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { Array, Console, Effect, Fiber, TestClock, TestContext } from "effect"

const program = Effect.gen(function* () {
  const runPod = yield* RunPod.RunPod
  const emulator = yield* Emulator.Emulator

  const submits = yield* Effect.fork(
    Effect.forEach(Array.range(1, 200), (n) => runPod.run("painter", { input: { n } }), { concurrency: "unbounded" })
  )
  yield* TestClock.adjust("3 minutes")
  yield* Fiber.join(submits)

  const bySecond = Array.groupBy(yield* emulator.requests, ({ at }) => `${at / 1000} s`)
  for (const [second, requests] of Object.entries(bySecond)) {
    yield* Console.log(`at ${second}: ${requests.length} requests`)
  }
})

const emulated = Emulator.layerRunPod({
  endpoints: { painter: { execution: "1 second" } },
  client: {
    // One exact window over all requests of the layer. The default is RunPod's documented table: see `RateLimits`.
    limits: RateLimits.uniform({ limit: 100, window: "1 minute" })
  }
})

program.pipe(Effect.provide(emulated), Effect.provide(TestContext.TestContext), NodeRuntime.runMain)
