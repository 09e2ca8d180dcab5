import type * as Emulator from "effect-runpod/Emulator"
import { NodeEmulator, NodeRunPod } from "effect-runpod/Node"
import * as RateLimits from "effect-runpod/RateLimits"
import { RunPod } from "effect-runpod/RunPod"
import * as Cost from "effect-runpod/Cost"
import { Effect, Layer } from "effect"

/** The code on the workers: some jobs fail. What they are given and return is no markup. */
const handler: Emulator.Handler = ({ n }) =>
  Number(n) % 7 === 3
    ? Effect.fail(new Error(`<img src=x onerror="document.title='pwned'"> out of memory`))
    : Effect.as(Effect.sleep(Number(n) % 50 === 5 ? "2 minutes" : 100 + ((Number(n) * 37) % 11) * 60), {
        echo: "<script>alert(1)</script>",
        n
      })

/** An emulated fleet behind a server, and jobs on it. */
export const fleet = (jobs: number, options: Emulator.EndpointOptions = {}, limits = RateLimits.unlimited) =>
  Effect.gen(function* () {
    const emulator = yield* NodeEmulator.serve({
      apiKey: "key",
      limits: RateLimits.unlimited,
      endpoints: { upscaler: { workers: 4, coldStart: "400 millis", handler, ...options } }
    })
    const context = yield* Layer.build(NodeRunPod.layer({ apiKey: "key", baseUrl: emulator.url, limits }))
    const runPod = yield* Effect.provide(RunPod, context)
    yield* Effect.forEach(
      Array.from({ length: jobs }, (_, n) => n + 1),
      (n) => runPod.run("upscaler", { input: { n } }),
      { concurrency: 32, discard: true }
    )
    const cost = yield* Cost.make({ rates: Cost.rates({ L4: { flex: 0.00019 } }), gpu: "L4", maxCost: 5 })
    return { emulator, cost, runPod }
  })
