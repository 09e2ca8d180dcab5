/**
 * Thousands of finished jobs that wait to be read, over HTTP under the documented limits of reads: how long until the last of
 * them has been read (RunPod forgets them after 30 minutes), and what a waiting job takes of the heap. On the built package:
 *
 *     node --expose-gc --import tsx bench/batch-retention.ts [jobs]
 */
import { Batch, Endpoint, RateLimits } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Effect, Exit, Schema } from "effect"
import * as Server from "./batch/server-client.js"

const count = Number(process.argv[2] ?? 20_000)

const heap = () => {
  const collect: unknown = Reflect.get(globalThis, "gc")
  if (typeof collect !== "function") throw new Error("run it with node --expose-gc")
  collect()
  return process.memoryUsage().heapUsed
}

const read = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make("ep", {
    input: Schema.Struct({ n: Schema.Number }),
    output: Schema.Struct({ n: Schema.Number })
  })
  const submissions = yield* Batch.submit(
    endpoint,
    Array.from({ length: count }, (_, n) => ({ n }))
  )
  const handles = yield* Effect.forEach(submissions, ({ result }) => result)
  const before = heap()
  const startedAt = Date.now()
  const watch = Effect.delay(
    Effect.sync(() => console.log(`heap per waiting job: ${((heap() - before) / count / 1024).toFixed(1)} KiB`)),
    "3 seconds"
  )
  const [outcomes] = yield* Effect.all([Batch.wait(endpoint, handles), watch], { concurrency: 2 })
  const seconds = (Date.now() - startedAt) / 1000
  const bound = Math.floor((count - 1) / 2000) * 10
  const lost = outcomes.filter(({ result }) => Exit.isFailure(result)).length
  console.log(`${count} results, ${lost} lost, the last read after ${seconds.toFixed(1)} s; the limits take ${bound} s`)
})

const program = Effect.gen(function* () {
  const server = yield* Server.start({ endpoints: { ep: { workers: { max: 1000, min: 1000 } } }, limits: "reads" })
  const limits = RateLimits.make({ run: { limit: Infinity, concurrency: Infinity } })
  yield* Effect.provide(read, NodeRunPod.layer({ apiKey: "key", baseUrl: server.url, limits }))
  const { rateLimited, total } = yield* server.summary
  console.log(`${((total - count) / count).toFixed(2)} reads a job, ${rateLimited} answered 429`)
}).pipe(Effect.scoped)

await Effect.runPromise(program)
