/** What runs the workflows: the cluster's storage and runners, over the database of the batches. */
import { PersistenceError } from "@effect/cluster/ClusterError"
import * as ClusterWorkflowEngine from "@effect/cluster/ClusterWorkflowEngine"
import * as MessageStorage from "@effect/cluster/MessageStorage"
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as RunnerHealth from "@effect/cluster/RunnerHealth"
import * as Runners from "@effect/cluster/Runners"
import * as RunnerStorage from "@effect/cluster/RunnerStorage"
import * as Sharding from "@effect/cluster/Sharding"
import * as ShardingConfig from "@effect/cluster/ShardingConfig"
import * as SqlMessageStorage from "@effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "@effect/cluster/SqlRunnerStorage"
import * as SqlClient from "@effect/sql/SqlClient"
import type * as WorkflowEngine from "@effect/workflow/WorkflowEngine"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { BatchJournalError } from "effect-runpod/BatchError"
import type * as BatchCluster from "../../BatchCluster.js"
import type * as BatchStore from "../../BatchStore.js"
import * as Sql from "../../Sql.js"
import { defaults, settingsOf } from "../batches.js"
import * as Connections from "../connections.js"
import { isStorable } from "../database.js"
import * as Lease from "../lease.js"
import * as Migrations from "../migrations.js"
import * as SqliteFile from "../sqliteFile.js"
import * as Placement from "./placement.js"
import { sockets } from "./silence.js"
import * as Workflow from "./workflow.js"

type Services = BatchStore.BatchStore | WorkflowEngine.WorkflowEngine | SqlClient.SqlClient

export const usualLease = "9 seconds"

const prefixOf = ({ prefix = defaults.prefix }: Sql.Options) => `${prefix}cluster`

const io = (detail: string) => new BatchJournalError({ reason: "Io", detail })

/** Errors of a database may quote what was sent to it, and the cluster's layers and clients have some as defects. */
const withoutDetails = <A, E, R>(layer: Layer.Layer<A, E, R>, detail: string): Layer.Layer<A, BatchJournalError, R> =>
  Layer.catchAllCause(layer, (cause) =>
    Cause.isInterruptedOnly(cause) ? Layer.failCause(Cause.map(cause, () => io(detail))) : Layer.fail(io(detail))
  )

const notFound = "the file cannot be opened. Give the path of one, or of a new one in a folder that exists."
const notReached =
  "the database cannot be reached, refuses the tables of the cluster, or the address of `listen` cannot be had."
const noDatabase = "the file is no database of SQLite, is damaged, or cannot be written. Give another."

/** How long the cluster's own tables may take to be there. */
const longestOpening = "1 minute"

/** A layer of the cluster's own, which creates its tables where they are missing. */
const withTables = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> =>
  Layer.scopedContext(
    Effect.timeoutFailCause(Migrations.amidOthers(Layer.build(layer)), {
      duration: longestOpening,
      onTimeout: () => Cause.die(new Error("the tables of the cluster take too long"))
    })
  )

/** Longer than a connection without an answer is kept. */
const longestReading = "35 seconds"

/**
 * The statement that reads messages marks them as read, for ten minutes: where its answer was lost, they are read again. What runs is left out by the
 * cluster.
 */
const rereading = Layer.effect(
  MessageStorage.MessageStorage,
  Effect.map(MessageStorage.MessageStorage, (storage) => {
    let isLost = false
    return MessageStorage.MessageStorage.of({
      ...storage,
      unprocessedMessages: (shards) =>
        Effect.suspend(() => (isLost ? storage.resetShards(shards) : Effect.void)).pipe(
          Effect.zipRight(storage.unprocessedMessages(shards)),
          Effect.timeoutFail({
            duration: longestReading,
            onTimeout: () => new PersistenceError({ cause: new Error("the database does not answer") })
          }),
          Effect.onExit((exit) => Effect.sync(() => void (isLost = Exit.isFailure(exit))))
        )
    })
  })
)

/** Looks often enough that work is taken over within seconds, and keeps locks in rows: advisory ones ignore the prefix, and outlive a stopped process. */
export const config = {
  shardLockDisableAdvisory: true,
  shardLockExpiration: "9 seconds",
  shardLockRefreshInterval: "3 seconds",
  runnerHealthCheckInterval: "3 seconds",
  refreshAssignmentsInterval: "1 second",
  // A chunk that another process is to drive, since this one ends or others have come, is interrupted in an orderly way. Until then it would not
  // be worked on there, and new jobs would be started here.
  entityTerminationTimeout: "1 second",
  // A chunk of a kind that this process does not work on would otherwise be over without having been driven: it waits for a process that does.
  entityRegistrationTimeout: Duration.infinity,
  entityMessagePollInterval: "1 second"
} as const

/**
 * The cluster of a file has one process: two would both run its workflows. After a crash the next one waits until the row of the one before
 * counts no more.
 */
const alone = (options: Sql.Options): Layer.Layer<never, BatchJournalError, SqlClient.SqlClient> => {
  const taking = Effect.gen(function* () {
    const { lease } = yield* settingsOf({ lease: usualLease, ...options })
    const db = yield* Migrations.open(options.prefix ?? defaults.prefix)
    return yield* Lease.take(db, "", { chunk: -1, lease, wait: Duration.sum(lease, "1 second") })
  })
  return Layer.scopedDiscard(
    Effect.mapError(taking, (error) =>
      error.reason === "Locked"
        ? new BatchJournalError({
            reason: "Locked",
            detail:
              "another process works on this file. Let it end, or have more than one process work over PostgreSQL."
          })
        : error
    )
  )
}

/** What is driven by a chunk's workflow waits for the chunk before, as long as that takes. */
const storeOptions = (options: Sql.Options): Sql.Options => ({ lease: usualLease, ...options, wait: "1 hour" })

/** The engine over the cluster, with the workflows of chunks, and the store of batches. */
const servicesOver = <E, R>(
  sharding: Layer.Layer<Sharding.Sharding | MessageStorage.MessageStorage | Placement.Placement, E, R>,
  options: Sql.Options,
  detail: string
) =>
  Layer.provideMerge(
    Workflow.layer,
    Layer.merge(
      withoutDetails(
        Layer.provide(Layer.merge(ClusterWorkflowEngine.layer, Layer.service(Placement.Placement)), sharding),
        detail
      ),
      Sql.layerBatchStore(storeOptions(options))
    )
  )

/** How long another process may write to the file at once before a statement fails. */
const longestWrite = "10 seconds"

/** A path is no URL. */
const urlOf = (file: string) => {
  const path = file.replaceAll(/[%?#]/g, (character) => encodeURIComponent(character)).replace(/^\/+/, "/")
  return /^(?:\/|[A-Za-z]:[\\/])/.test(path) ? `file:${path}` : `file:./${path}`
}

export const layerSqlite = (
  file: string,
  options: BatchCluster.SqliteOptions = {}
): Layer.Layer<Services, BatchJournalError> => {
  if (file === "" || file.startsWith(":memory:") || !isStorable(file)) {
    return Layer.fail(io("a cluster needs a file. Give the path of one."))
  }
  const connection = Layer.unwrapEffect(
    Effect.map(
      Effect.promise(() => import("@effect/sql-libsql/LibsqlClient")),
      // The cluster's ids are larger than a number can tell apart.
      (LibsqlClient) => withoutDetails(LibsqlClient.layer({ url: urlOf(file), intMode: "bigint" }), notFound)
    )
  )
  // The cluster does not go on after a statement of its own found the file busy. In this mode none does for who only reads the file.
  const opened = Effect.flatMap(SqlClient.SqlClient, (client) =>
    Effect.zipRight(SqliteFile.open(client, longestWrite), client.unsafe("PRAGMA journal_mode = WAL"))
  )
  const client = Layer.provideMerge(withoutDetails(Layer.effectDiscard(opened), noDatabase), connection)
  const prefix = prefixOf(options)
  const sharding = Layer.merge(Sharding.layer, Placement.alone).pipe(
    Layer.provide(Runners.layerNoop),
    Layer.provideMerge(SqlMessageStorage.layerWith({ prefix })),
    Layer.provide([RunnerStorage.layerMemory, RunnerHealth.layerNoop]),
    Layer.provide(ShardingConfig.layer(config))
  )
  return servicesOver(sharding, options, noDatabase).pipe(Layer.provide(alone(options)), Layer.provideMerge(client))
}

/** The cluster keeps one for its locks. */
const leastConnections = 2

export const layerPostgres = ({
  listen,
  maxConnections = 5,
  url,
  ...options
}: BatchCluster.PostgresOptions): Layer.Layer<Services, BatchJournalError> => {
  const client = Layer.unwrapEffect(
    Effect.map(
      Effect.promise(() => import("@effect/sql-pg/PgClient")),
      (PgClient) => {
        const connected = PgClient.layer({
          url,
          maxConnections: Math.max(leastConnections, maxConnections),
          stream: sockets()
        })
        // The cluster asks many things at once on the connection of its locks.
        const inTurns = Effect.map(PgClient.PgClient, (client) => Connections.make(client, PgClient.makeCompiler()))
        return withoutDetails(Layer.provide(Layer.effect(SqlClient.SqlClient, inTurns), connected), notReached)
      }
    )
  )
  const prefix = prefixOf(options)
  const sharding = Layer.unwrapEffect(
    Effect.map(
      Effect.promise(() => import("@effect/platform-node/NodeClusterSocket")),
      (NodeClusterSocket) =>
        Layer.provideMerge(
          Placement.layer,
          NodeClusterSocket.layer({
            storage: "byo",
            clientOnly: listen === undefined,
            shardingConfig: {
              ...config,
              runnerAddress: Option.map(Option.fromNullable(listen), ({ host, port }) => RunnerAddress.make(host, port))
            }
          })
        ).pipe(
          Layer.provideMerge(rereading.pipe(Layer.provide(withTables(SqlMessageStorage.layerWith({ prefix }))))),
          Layer.provide(withTables(SqlRunnerStorage.layerWith({ prefix }))),
          // As `NodeClusterSocket` reads it.
          Layer.provide(ShardingConfig.layerFromEnv(config))
        )
    )
  )
  return Layer.provideMerge(servicesOver(sharding, options, notReached), client)
}
