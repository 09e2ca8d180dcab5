/** A process of a cluster: it works until it is told to end, and starts a batch when it is told to. */
import { RateLimits } from "effect-runpod"
import type * as WorkflowEngine from "@effect/workflow/WorkflowEngine"
import { NodeRunPod } from "effect-runpod/Node"
import { type BatchStore, Redis } from "effect-runpod-cluster"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { Effect, Layer, Redacted, Runtime, Schema } from "effect"

export interface WorkerOptions {
  /** Of the emulated RunPod. */
  readonly url: string
  readonly postgres: string
  /** Where the processes share the documented limits; `undefined` for no limits. */
  readonly redis: string | undefined
  readonly port: number
  readonly chunkSize: number
}

export interface Used {
  /** Milliseconds of CPU since the process was ready. */
  readonly cpu: number
  /** Bytes. */
  readonly rss: number
}

const { chunkSize, port, postgres, redis, url }: WorkerOptions = JSON.parse(process.argv[2] ?? "{}")
const Numbered = Schema.Struct({ n: Schema.Number })
const kind = { input: Numbered, output: Numbered, chunkSize }
const numbers = BatchCluster.make({ ...kind, name: "numbers", endpoint: "ep" })
/** Another endpoint, so that the limits measured are untouched. */
const warm = BatchCluster.make({ ...kind, name: "warm", endpoint: "warm", chunkSize: 50 })
const inputs = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))

const runPod =
  redis === undefined
    ? NodeRunPod.layer({ apiKey: "key", baseUrl: url, limits: RateLimits.unlimited })
    : Layer.provide(NodeRunPod.layer({ apiKey: "key", baseUrl: url }), Redis.layer({ url: redis }))

const program = Effect.gen(function* () {
  const run = Runtime.runPromise(yield* Effect.runtime<BatchStore.BatchStore | WorkflowEngine.WorkflowEngine>())
  const cpu = process.cpuUsage()
  process.on("message", (message) => {
    if (message === "used") {
      const { system, user } = process.cpuUsage(cpu)
      const used: Used = { cpu: (system + user) / 1000, rss: process.memoryUsage.rss() }
      process.send?.(used)
      return
    }
    if (message === "warm") {
      const all = Effect.zipRight(warm.start("batch", inputs(900)), warm.awaitEnd("batch"))
      void run(all).then(() => process.send?.("warmed"))
      return
    }
    void run(
      Effect.gen(function* () {
        yield* numbers.start("batch", inputs(Number(message)))
        process.send?.("started")
        yield* numbers.awaitEnd("batch")
        process.send?.("ended")
        const { counts } = yield* numbers.report("batch")
        process.send?.(counts)
      })
    )
  })
  process.on("disconnect", () => process.exit(0))
  process.send?.("ready")
  return yield* Effect.never
})

const cluster = BatchCluster.layerPostgres({ url: Redacted.make(postgres), listen: { host: "127.0.0.1", port } })
await Effect.runPromise(
  Effect.provide(
    program,
    Layer.merge(numbers.layer, warm.layer).pipe(Layer.provideMerge(cluster), Layer.provide(runPod))
  )
)
