/**
 * Chunks of a batch as jobs of BullMQ, without a cluster: a consumer calls `BatchStore.drive` for each. BullMQ may give a job to two consumers, or
 * again after a crash; each input has one outcome all the same. It needs a Redis (REDIS_URL), and keeps the batch in PostgreSQL
 * (DATABASE_URL) or else in a file that goes with it.
 */
import { NodeContext } from "@effect/platform-node"
import { FileSystem } from "@effect/platform"
import { LibsqlClient } from "@effect/sql-libsql"
import { PgClient } from "@effect/sql-pg"
import { Endpoint } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { BatchStore, Sql } from "effect-runpod-cluster"
import { Queue, QueueEvents, Worker } from "bullmq"
import { Array, Config, Console, Effect, Layer, Option, Redacted, Runtime, Schema, Stream } from "effect"
import { endpointId, runPodOrEmulator } from "../support/runpod.js"

const Input = Schema.Struct({ prompt: Schema.String, seed: Schema.Int })
const inputs = Array.makeBy(60, (seed) => ({ prompt: "a red bicycle", seed }))
const id = `bicycles-${crypto.randomUUID()}`

const Database = Layer.unwrapScoped(
  Effect.gen(function* () {
    const url = yield* Config.option(Config.redacted("DATABASE_URL"))
    if (Option.isSome(url)) return PgClient.layer({ url: url.value })
    const fs = yield* FileSystem.FileSystem
    return LibsqlClient.layer({ url: `file:${yield* fs.makeTempDirectoryScoped()}/batches.db` })
  })
)

/** What a job of the queue says. */
interface ChunkJob {
  readonly batch: string
  readonly chunk: number
}

/** Drives the chunks that the queue gives it, two at once, until the scope closes. */
const consumer = (queue: string, connection: { readonly url: string }) =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make(yield* endpointId, { input: Input, output: Schema.Unknown })
    const runtime = yield* Effect.runtime<BatchStore.BatchStore>()
    const drive = ({ batch, chunk }: ChunkJob) =>
      BatchStore.drive(endpoint, { id: batch, chunk, input: Input, concurrency: 8 }).pipe(
        Effect.tap((driven) => Console.log(`chunk ${chunk}: ${driven}`))
      )
    return yield* Effect.acquireRelease(
      Effect.sync(
        () =>
          new Worker<ChunkJob, BatchStore.Driven>(
            queue,
            // `Locked`, and all else that fails, is tried again by the queue.
            ({ data }) => Runtime.runPromise(runtime)(drive(data)),
            { connection, concurrency: 2 }
          )
      ),
      (worker) => Effect.promise(() => worker.close())
    )
  })

const program = Effect.gen(function* () {
  const connection = { url: Redacted.value(yield* Config.redacted("REDIS_URL")) }
  const name = `chunks-${crypto.randomUUID()}`
  const store = yield* BatchStore.BatchStore
  const chunks = yield* store.create(
    { id, endpointId: yield* endpointId, chunkSize: 20 },
    Stream.make(inputs.map((input) => ({ key: `bicycle-${input.seed}`, input })))
  )
  const queue = yield* Effect.acquireRelease(
    Effect.sync(() => new Queue<ChunkJob, BatchStore.Driven>(name, { connection })),
    (queue) => Effect.promise(() => queue.obliterate({ force: true }).then(() => queue.close()))
  )
  const events = yield* Effect.acquireRelease(
    Effect.sync(() => new QueueEvents(name, { connection })),
    (events) => Effect.promise(() => events.close())
  )
  yield* consumer(name, connection)
  const jobs = yield* Effect.promise(() =>
    queue.addBulk(
      Array.makeBy(chunks, (chunk) => ({
        name: "drive",
        data: { batch: id, chunk },
        opts: { jobId: `${id}-${chunk}`, attempts: 10, backoff: { type: "exponential", delay: 1_000 } }
      }))
    )
  )
  yield* Console.log(`${jobs.length} chunks are in the queue`)
  yield* Effect.promise(() => Promise.all(jobs.map((job) => job.waitUntilFinished(events))))
  const { failed, settled, total } = yield* store.progress(id)
  yield* Console.log(`${settled} of ${total} settled, ${failed} failed`)
}).pipe(Effect.scoped)

const services = Layer.mergeAll(
  Sql.layerBatchStore().pipe(Layer.provide(Database)),
  runPodOrEmulator({ workers: 8, execution: { min: "50 millis", max: "200 millis" } })
)

NodeRunPod.runMain(program.pipe(Effect.provide(services), Effect.provide(NodeContext.layer)))
