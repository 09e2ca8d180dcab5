/**
 * Batches and webhooks in a SQL database, PostgreSQL or SQLite, over the client of `@effect/sql` that the program provides: a journal for
 * `Batch` that another process can take over, the store of batches in chunks under it, and a store of webhooks that all processes share.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { BatchJournalError } from "effect-runpod/BatchError"
import type { BatchJournal } from "effect-runpod/BatchJournal"
import type * as Permits from "effect-runpod/Permits"
import type { WebhookStoreError } from "effect-runpod/WebhookError"
import * as WebhookStore from "effect-runpod/WebhookStore"
import * as BatchStore from "./BatchStore.js"
import * as permitsInternal from "./internal/permits/sql.js"
import * as store from "./internal/store.js"
import * as webhooks from "./internal/webhooks/store.js"
import * as PermitStore from "./PermitStore.js"

/**
 * Options of the tables, and of whoever takes a batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What the names of the tables begin with: up to 40 of a–z, 0–9 and `_`. Default: `runpod_`. */
  readonly prefix?: string | undefined
  /**
   * How long an owner that has died, or does not reach the database, keeps what it has taken. It renews that three times as often.
   * Intents are written again for so long while the database is away. Default: 15 seconds.
   */
  readonly lease?: Duration.DurationInput | undefined
  /** How long to wait for what another owner has, instead of failing with `Locked` at once. Default: 0. */
  readonly wait?: Duration.DurationInput | undefined
  /**
   * After the owner before has not given its batch back, how long to wait for the ids of jobs it was submitting, if there are such: it
   * may be alive, and knows them. Default: 35 seconds, as long as an attempt may take.
   */
  readonly grace?: Duration.DurationInput | undefined
  /** How long what has happened (a job's id, an outcome) is written again while the database is away. Default: 5 minutes. */
  readonly outage?: Duration.DurationInput | undefined
}

/**
 * Options of a journal.
 *
 * @since 0.1.0
 * @category models
 */
export interface JournalOptions extends Options {
  /** Names the batch: its rows in the tables. */
  readonly id: string
}

/**
 * A store of batches, whose tables are made where they are missing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const batchStore = (
  options: Options = {}
): Effect.Effect<BatchStore.Service, BatchJournalError, SqlClient.SqlClient> => store.make(options)

/**
 * `batchStore` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerBatchStore = (
  options: Options = {}
): Layer.Layer<BatchStore.BatchStore, BatchJournalError, SqlClient.SqlClient> =>
  Layer.effect(BatchStore.BatchStore, batchStore(options))

/**
 * A store of permits in the database: the requests of all processes with one API key. A lease is two statements, three times what it costs in
 * Redis; nothing is lost with the server.
 *
 * @since 0.1.0
 * @category constructors
 */
export const permitStore = (
  options: Pick<Options, "prefix"> = {}
): Effect.Effect<PermitStore.Service, BatchJournalError, SqlClient.SqlClient> => permitsInternal.make(options)

/**
 * `permitStore` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPermitStore = (
  options?: Pick<Options, "prefix">
): Layer.Layer<PermitStore.PermitStore, BatchJournalError, SqlClient.SqlClient> =>
  Layer.effect(PermitStore.PermitStore, permitStore(options))

/**
 * Permits in the database, for the layer of `RunPod`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPermits = ({ prefix, ...options }: Pick<Options, "prefix"> & PermitStore.Options = {}): Layer.Layer<
  Permits.Permits,
  BatchJournalError,
  SqlClient.SqlClient
> => Layer.provide(PermitStore.layerPermits(options), layerPermitStore({ prefix }))

/**
 * The journal of a batch in the database, as `BatchJournal.file` is one in a file.
 *
 * - **One process** has it until the scope closes: a second one fails with `Locked`, or waits (`wait`). That of a dead one can be
 *   taken over when its `lease` has ended.
 * - **A process that was taken for dead**, since it was stopped or cut off, submits nothing more: each intent is written only
 *   where the batch is still its own. What it knows of jobs it had started is still written.
 * - **Outages** of the database shorter than `lease` are waited out: nothing is submitted meanwhile.
 *
 * @example
 * ```ts
 * import { Batch, type Endpoint } from "effect-runpod"
 * import { Sql } from "effect-runpod-cluster"
 * import { Effect } from "effect"
 *
 * // Run it again after a crash, on any machine that reaches the database.
 * const upscaleAll = (upscale: Endpoint.Endpoint<string, URL>, images: ReadonlyArray<string>) =>
 *   Effect.gen(function* () {
 *     const journal = yield* Sql.journal({ id: "upscale-2026-11", wait: "20 seconds" })
 *     return yield* Batch.collect(upscale, images, { key: (image) => image, journal })
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const journal = (
  options: JournalOptions
): Effect.Effect<BatchJournal, BatchJournalError, SqlClient.SqlClient | Scope.Scope> => store.journal(options)

/**
 * Options of a store of webhooks.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebhookStoreOptions extends Pick<WebhookStore.Options, "maxAge" | "maxCount"> {
  /** What the names of the tables begin with: up to 40 of a–z, 0–9 and `_`. Default: `runpod_`. */
  readonly prefix?: string | undefined
  /**
   * How often a process in which somebody waits asks for what others have received. PostgreSQL also tells of it at once, where the client can
   * listen, as that of `@effect/sql-pg`. Default: 2 seconds.
   */
  readonly poll?: Duration.DurationInput | undefined
}

/**
 * A store of webhooks in the database: any process may receive a delivery, and waits in all of them wake. Its tables are made where they
 * are missing.
 *
 * - **A token** tells of one job, whichever processes it comes to, and at the same moment.
 * - **Numbers** of deliveries have no gaps, and none can be seen before an earlier one: `eventsSince` misses nothing.
 * - **Outages** of the database up to 15 seconds are waited out. A delivery whose `add` got no answer is added again, and is `Stored` once.
 *
 * It fails with `WebhookStoreError` of the operation `open`.
 *
 * @example
 * ```ts
 * import { NodeWebhooks } from "effect-runpod/Node"
 * import { Sql } from "effect-runpod-cluster"
 * import { Layer } from "effect"
 *
 * // The same in each process behind a load balancer, over a layer of `PgClient`.
 * export const webhooks = NodeWebhooks.layerConfigStore({ url: "https://app.example/hooks/runpod", port: 8080 }).pipe(
 *   Layer.provide(Sql.layerWebhookStore())
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookStore = (
  options: WebhookStoreOptions = {}
): Effect.Effect<WebhookStore.Service, WebhookStoreError, SqlClient.SqlClient | Scope.Scope> => webhooks.make(options)

/**
 * `webhookStore` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWebhookStore = (
  options: WebhookStoreOptions = {}
): Layer.Layer<WebhookStore.WebhookStore, WebhookStoreError, SqlClient.SqlClient> =>
  Layer.scoped(WebhookStore.WebhookStore, webhookStore(options))
