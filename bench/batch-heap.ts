/**
 * What a batch without a journal keeps in memory: the heap after a collection of garbage, at several points of one long batch
 * over HTTP, the emulator in a process of its own and the limits off. 100,000 inputs take some minutes. On the built package:
 *
 *     node --expose-gc --import tsx bench/batch-heap.ts [inputs]
 */
import { Batch, Endpoint, RateLimits } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Effect, Exit, Schema, Stream } from "effect"
import * as Server from "./batch/server-client.js"

const count = Number(process.argv[2] ?? 100_000)
const every = 10_000

const heap = () => {
  const collect: unknown = Reflect.get(globalThis, "gc")
  if (typeof collect !== "function") throw new Error("run it with node --expose-gc")
  collect()
  return process.memoryUsage().heapUsed / 2 ** 20
}

function* inputs() {
  for (let n = 0; n < count; n++) yield { n }
}

const batch = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make("ep", {
    input: Schema.Struct({ n: Schema.Number }),
    output: Schema.Struct({ n: Schema.Number })
  })
  let done = 0
  let failed = 0
  let first: number | undefined
  yield* Stream.runForEach(Batch.run(endpoint, inputs(), { concurrency: 400 }), ({ result }) =>
    Effect.sync(() => {
      done++
      if (Exit.isFailure(result)) failed++
      if (done % every !== 0) return
      const used = heap()
      first ??= used
      console.log(
        `${done} outcomes, ${failed} failed: ${used.toFixed(1)} MiB, ${(used / first).toFixed(2)} × the first`
      )
    })
  )
})

const program = Effect.gen(function* () {
  const server = yield* Server.start({ endpoints: { ep: { workers: { max: 1000, min: 1000 } } }, limits: "off" })
  const layer = NodeRunPod.layer({ apiKey: "key", baseUrl: server.url, limits: RateLimits.unlimited })
  yield* Effect.provide(batch, layer)
}).pipe(Effect.scoped)

await Effect.runPromise(program)
