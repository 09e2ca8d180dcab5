/** A process that works on the batches of a cluster, until it is ended. */
import { Effect, Layer, Redacted, Schema } from "effect"
import { RateLimits } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Redis, Sql } from "effect-runpod-cluster"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"

export interface ClusterChild {
  /** The emulator's. */
  readonly url: string
  readonly pg: string
  readonly prefix: string
  readonly port: number
  readonly chunkSize: number
  readonly concurrency: number
  /** In milliseconds. */
  readonly requestTimeout: number
  readonly grace: number
  /** Submits in two seconds, with room for a busy machine. Default: RunPod's limits. */
  readonly limit?: number | undefined
  /** Shares the limits over a Redis, or over the database. Default: it keeps them alone. */
  readonly shared?: { readonly redis: string } | "sql" | undefined
  /** By how many milliseconds its clock is ahead. */
  readonly ahead?: number | undefined
  /** Knows no inputs with the field `since`, as if it were of before that was added. */
  readonly isOld?: boolean | undefined
}

const options: ClusterChild = JSON.parse(process.argv[2] ?? "")
const { ahead = 0, chunkSize, concurrency, grace, isOld = false, limit, pg, port, prefix, shared, url } = options

const { now } = Date
Date.now = () => now() + ahead

interface Input {
  readonly n: number
  readonly since?: number | undefined
}
const Old: Schema.Schema<Input> = Schema.Struct({ n: Schema.Number })
const New: Schema.Schema<Input> = Schema.Struct({ n: Schema.Number, since: Schema.optional(Schema.Number) })

const kind = BatchCluster.make({
  name: "numbers",
  endpoint: "ep",
  input: isOld ? Old : New,
  output: New,
  chunkSize,
  concurrency
})

const Cluster = BatchCluster.layerPostgres({
  url: Redacted.make(pg),
  listen: { host: "127.0.0.1", port },
  prefix,
  grace
})

const client = NodeRunPod.layer({
  apiKey: "key",
  baseUrl: url,
  requestTimeout: options.requestTimeout,
  ...(limit === undefined ? {} : { limits: RateLimits.make({ run: { limit, window: "2200 millis" } }) })
})
const RunPod =
  shared === undefined
    ? client
    : Layer.provide(
        client,
        shared === "sql" ? Sql.layerPermits({ prefix }) : Redis.layer({ url: Redacted.make(shared.redis) })
      )

kind.layer.pipe(
  Layer.tap(() => Effect.sync(() => process.stdout.write("begun\n"))),
  Layer.provide(RunPod),
  Layer.provide(Cluster),
  Layer.launch,
  NodeRunPod.runMain
)
