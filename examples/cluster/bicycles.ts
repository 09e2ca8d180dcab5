/** What all processes of this folder have in common: the kind of batch, and where they meet. */
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { Array, Config, Effect, Layer, Option, Schema } from "effect"

export const endpointId = process.env["RUNPOD_ENDPOINT_ID"] ?? "emulated"

export const bicycles = BatchCluster.make({
  name: "bicycles",
  endpoint: endpointId,
  input: Schema.Struct({ prompt: Schema.String, seed: Schema.Int }),
  output: Schema.Unknown,
  chunkSize: 20,
  chunks: 2,
  concurrency: 20
})

export const inputs = Array.makeBy(160, (seed) => ({ prompt: "a red bicycle", seed }))

/** BATCH names the batch; the same one again is gone on with. */
export const batchId = Config.nonEmptyString("BATCH").pipe(Config.withDefault("today"))

/**
 * PostgreSQL (DATABASE_URL), where others reach this process at RUNNER_HOST and RUNNER_PORT; without it a file, BATCHES_FILE, that this process has
 * alone. GRACE is how long to wait for what a process may still tell that seems to be dead.
 */
export const services = Layer.unwrapEffect(
  Effect.gen(function* () {
    const grace = yield* Config.duration("GRACE").pipe(Config.withDefault("35 seconds"))
    const url = yield* Config.option(Config.redacted("DATABASE_URL"))
    if (Option.isNone(url)) {
      const file = yield* Config.nonEmptyString("BATCHES_FILE").pipe(Config.withDefault("batches.db"))
      return BatchCluster.layerSqlite(file, { grace, lease: "3 seconds" })
    }
    const host = yield* Config.nonEmptyString("RUNNER_HOST").pipe(Config.withDefault("127.0.0.1"))
    const port = yield* Config.integer("RUNNER_PORT").pipe(Config.withDefault(34431))
    return BatchCluster.layerPostgres({ url: url.value, listen: { host, port }, grace })
  })
)
