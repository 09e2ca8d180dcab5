/**
 * Batches that several processes work on, over `@effect/workflow` and `@effect/cluster`: a workflow for each chunk of a batch drives it over
 * the fenced journal in the database. Which process does that is the cluster's matter, and that each input has one outcome the journal's.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type * as WorkflowEngine from "@effect/workflow/WorkflowEngine"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import type { ParseError } from "effect/ParseResult"
import type * as Redacted from "effect/Redacted"
import type * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type * as Batch from "effect-runpod/Batch"
import type { BatchJournalError } from "effect-runpod/BatchError"
import type { JobError } from "effect-runpod/JobError"
import type { JobId } from "effect-runpod/JobId"
import type { RunPod } from "effect-runpod/RunPod"
import type { RunPodError } from "effect-runpod/RunPodError"
import * as definition from "./internal/cluster/definition.js"
import * as engine from "./internal/cluster/engine.js"
import type * as BatchStore from "./BatchStore.js"
import type * as Sql from "./Sql.js"

/**
 * What all batches of one kind have in common. Processes that work on them must have the same one, or one that reads the inputs of
 * batches that are under way.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<I, IE, O, OE> extends Omit<
  BatchStore.DriveOptions<I, IE, O>,
  "id" | "chunk" | "input" | "load" | "onOutcome"
> {
  /** Tells it from other kinds in the same database. Up to 100 characters without `/`; `start` fails with `InvalidOption` otherwise. */
  readonly name: string
  /** The id of the endpoint. */
  readonly endpoint: string
  /** The handler's input; the database holds what it encodes to. */
  readonly input: Schema.Schema<I, IE>
  /** What the handler returns. */
  readonly output: Schema.Schema<O, OE>
  /** Names an item, and tells it from all others of its batch. Default: its index. */
  readonly key?: ((input: I, index: number) => string) | undefined
  /** How many items one workflow drives: 100 to 250 are well. Default: 250. */
  readonly chunkSize?: number | undefined
  /** How many chunks a process drives at once. Default: 8. Below 1 it is `InvalidOption`, as is a `concurrency` below 1. */
  readonly chunks?: number | undefined
}

/**
 * What batches of one kind have in common whose inputs may not be stored: the database has their keys and hashes, and whoever needs an input
 * loads it.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoadedOptions<I, IE, O, OE, E = never, R = never> extends Options<I, IE, O, OE> {
  /**
   * Gives the inputs of a batch from index `from` up to, and without, `to`, each at its place; `undefined` stands for one that is gone. The process that starts
   * the batch asks for all of them, a page at a time, and one that works for those of its chunks.
   */
  readonly load: (id: string, range: BatchStore.Range) => Effect.Effect<ReadonlyArray<I | undefined>, E, R>
}

/**
 * What a batch may be told.
 *
 * @since 0.1.0
 * @category models
 */
export interface StartOptions extends Pick<BatchStore.NewBatch, "maxFailures" | "deadline"> {}

/**
 * What became of an item.
 *
 * @since 0.1.0
 * @category models
 */
export interface ItemOutcome<out O> {
  /** The input's place, counting from 0. */
  readonly index: number
  readonly key: string
  /** Missing when no job is known. */
  readonly jobId?: JobId | undefined
  /** Milliseconds in the queue. */
  readonly delayTime?: number | undefined
  /** Milliseconds on the worker. */
  readonly executionTime?: number | undefined
  readonly result: Exit.Exit<O, RunPodError | JobError | definition.ItemError>
}

/**
 * What became of an input that is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome<out I, out O> extends ItemOutcome<O> {
  readonly input: I
}

/**
 * Where outcomes are read from.
 *
 * @since 0.1.0
 * @category models
 */
export interface OutcomesOptions {
  /** The index of the outcome before the first. Default: -1, from the start. */
  readonly after?: number | undefined
  /** How often is looked for the next. Default: 1 second. */
  readonly poll?: Duration.DurationInput | undefined
}

/**
 * Why an input has no job that could have an outcome.
 *
 * @since 0.1.0
 * @category errors
 */
export { ItemError } from "./internal/cluster/definition.js"

/**
 * What a batch came to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report extends Pick<
  Batch.Report<unknown, unknown>,
  "endpointId" | "counts" | "completed" | "failed" | "queueTime" | "executionTime"
> {
  /** How many inputs have no outcome yet. */
  readonly open: number
  readonly state: BatchStore.BatchState
}

/**
 * What all kinds of batches have. All but `layer` may be used by any process that reaches the database, also one that works on none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Kind<out R = never> {
  readonly name: string
  /**
   * A process with this layer works on batches of this kind. When its engine is closed, too, others go on with what it had; until then that waits for this
   * layer to be opened again. An engine of the program's own is closed with it.
   */
  readonly layer: Layer.Layer<never, never, RunPod | BatchStore.BatchStore | WorkflowEngine.WorkflowEngine | R>
  readonly progress: (id: string) => Effect.Effect<BatchStore.Progress, BatchJournalError, BatchStore.BatchStore>
  /** What it came to so far. It goes through all outcomes, a page at a time. */
  readonly report: (id: string) => Effect.Effect<Report, BatchJournalError, BatchStore.BatchStore>
  /**
   * Waits until each input has an outcome, or the batch has stopped. It looks ten times a second at first, and less often the longer it has
   * waited, but each `poll` at least; when one of the last chunks has ended, forty times a second for a second. Default: 1 second.
   */
  readonly awaitEnd: (
    id: string,
    options?: { readonly poll?: Duration.DurationInput | undefined }
  ) => Effect.Effect<BatchStore.Progress, BatchJournalError, BatchStore.BatchStore>
  /** Submits nothing more, and has the jobs cancelled by those who drive them. */
  readonly cancel: (id: string) => Effect.Effect<void, BatchJournalError, BatchStore.BatchStore>
  /** Deletes all of a batch but its id, when it has come to its end or was cancelled. `Locked`: it has not. */
  readonly remove: (id: string) => Effect.Effect<void, BatchJournalError, BatchStore.BatchStore>
  /**
   * Submits the items again whose submit is in doubt: each may have had a job already, and get a second one. Gives how many chunks have some. `WrongId`:
   * the batch was cancelled, or its deadline is over, so that its outcomes stay as they are.
   */
  readonly retryAmbiguous: (
    id: string
  ) => Effect.Effect<number, BatchJournalError, BatchStore.BatchStore | WorkflowEngine.WorkflowEngine>
  /**
   * Submits the items again whose job has ended badly, or is gone, or that were refused (`BadRequestError`); one whose wait ended before its job
   * (`WaitTimeoutError`), unless that was cancelled, is waited for again. Gives how many chunks have some. A batch that has stopped at its
   * `maxFailures` goes on with all of its chunks. `WrongId`: it was cancelled, or its deadline is over, so that its outcomes stay as they are.
   */
  readonly retryFailed: (
    id: string
  ) => Effect.Effect<number, BatchJournalError, BatchStore.BatchStore | WorkflowEngine.WorkflowEngine>
}

/**
 * A kind of batch whose inputs are stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchCluster<I, O> extends Kind {
  /**
   * Stores the inputs, and has them worked on. The same id and inputs again: nothing happens, but that chunks which have not ended are
   * gone on with. Other inputs are `InputChanged`; a key or an option that is not what it may be is `InvalidKey` or `InvalidOption`, an input that
   * `input` would not read back from JSON (`NaN`) is `Unstorable`. `Io`: the database is away, or the cluster has not accepted a chunk within
   * 30 seconds; start it again.
   */
  readonly start: <E = never, R = never>(
    id: string,
    inputs: Iterable<I> | Stream.Stream<I, E, R>,
    options?: StartOptions
  ) => Effect.Effect<
    void,
    BatchJournalError | ParseError | E,
    BatchStore.BatchStore | WorkflowEngine.WorkflowEngine | R
  >
  /**
   * The outcomes in the order of the inputs, from the one behind `after` on: as they come, until the batch has ended. Take the index of the last
   * one to go on later.
   */
  readonly outcomes: (
    id: string,
    options?: OutcomesOptions
  ) => Stream.Stream<Outcome<I, O>, BatchJournalError | ParseError, BatchStore.BatchStore>
}

/**
 * A kind of batch whose inputs are loaded.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoadedBatchCluster<out O, out E, out R> extends Kind<R> {
  /**
   * Loads `count` inputs, stores their keys and hashes, and has them worked on. The same id and inputs again: nothing happens, but that chunks which
   * have not ended are gone on with. Other inputs, or fewer of them, are `InputChanged`.
   */
  readonly start: (
    id: string,
    inputs: { readonly count: number },
    options?: StartOptions
  ) => Effect.Effect<
    void,
    BatchJournalError | ParseError | E,
    BatchStore.BatchStore | WorkflowEngine.WorkflowEngine | R
  >
  /** As those of a `BatchCluster`, without the inputs: nothing is loaded for them. */
  readonly outcomes: (
    id: string,
    options?: OutcomesOptions
  ) => Stream.Stream<ItemOutcome<O>, BatchJournalError, BatchStore.BatchStore>
}

/**
 * A kind of batch. With `load` its inputs are not stored.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: {
  <I, IE, O, OE, E, R>(options: LoadedOptions<I, IE, O, OE, E, R>): LoadedBatchCluster<O, E, R>
  <I, IE, O, OE>(options: Options<I, IE, O, OE> & { readonly load?: undefined }): BatchCluster<I, O>
} = definition.make

/**
 * Where a process keeps its batches when it works alone.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqliteOptions extends Omit<Sql.Options, "wait"> {}

/**
 * Everything for one process, in a file: nothing is to be installed but `@effect/sql-libsql`. A second process that opens it fails.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSqlite: (
  file: string,
  options?: SqliteOptions
) => Layer.Layer<BatchStore.BatchStore | WorkflowEngine.WorkflowEngine | SqlClient.SqlClient, BatchJournalError> =
  engine.layerSqlite

/**
 * Where the processes meet that work together.
 *
 * @since 0.1.0
 * @category models
 */
export interface PostgresOptions extends Omit<Sql.Options, "wait"> {
  /** `postgres://…`, with user and password. */
  readonly url: Redacted.Redacted
  /** Where the others reach this process. Without it it starts batches and reads them, but works on none. */
  readonly listen?: { readonly host: string; readonly port: number } | undefined
  /** Connections to the database, 2 at least. Default: 5. */
  readonly maxConnections?: number | undefined
}

/**
 * Everything for many processes, in PostgreSQL, over `@effect/sql-pg`. A connection whose statement has no answer for 30 seconds is closed.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPostgres: (
  options: PostgresOptions
) => Layer.Layer<BatchStore.BatchStore | WorkflowEngine.WorkflowEngine | SqlClient.SqlClient, BatchJournalError> =
  engine.layerPostgres
