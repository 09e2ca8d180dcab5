/**
 * The store of batches whose inputs are driven in chunks: what it keeps, and `drive`, which an engine of any kind calls for a chunk. `Sql.batchStore`
 * makes one.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type * as Batch from "effect-runpod/Batch"
import type { BatchJournalError, RunError } from "effect-runpod/BatchError"
import type { BatchJournal } from "effect-runpod/BatchJournal"
import type { Endpoint } from "effect-runpod/Endpoint"
import type { Settled } from "effect-runpod/JournalEntry"
import * as driving from "./internal/drive.js"
import * as inputs from "./internal/inputs.js"
import { sha256 } from "./internal/sha256.js"

/**
 * A batch in chunks, each of which one owner at a time works on.
 *
 * @since 0.1.0
 * @category models
 */
export interface NewBatch {
  readonly id: string
  /** The endpoint all of its inputs are for. */
  readonly endpointId: string
  /** How many items there are in a chunk. Default: 250. */
  readonly chunkSize?: number | undefined
  /** Nothing more is submitted when so many items have failed, in all chunks together. Default: no bound. */
  readonly maxFailures?: number | undefined
  /** How long the batch may take from now on, over all of its chunks. Default: no bound. */
  readonly deadline?: Duration.DurationInput | undefined
}

/**
 * An input, as JSON has it.
 *
 * @since 0.1.0
 * @category models
 */
export interface NewItem {
  /** Tells it from all others of the batch. */
  readonly key: string
  readonly input: unknown
}

/**
 * An input that may not be stored: the store gets what tells it from another. Whoever drives its chunk loads it (`load`).
 *
 * @since 0.1.0
 * @category models
 */
export interface NewReference {
  /** Tells it from all others of the batch. */
  readonly key: string
  /** What `hash` gives for it. */
  readonly hash: string
}

/**
 * The SHA-256 of an input, as JSON has it. Who knows of a few inputs that one of them it must be can tell which by its hash.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hash = (input: unknown): Effect.Effect<string> => sha256(inputs.textOf(input))

/**
 * An item of a batch, with its input where that is stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredItem {
  readonly key: string
  /** Where it stands among the inputs, from 0. */
  readonly index: number
  /** As JSON has it; missing where it is not stored. */
  readonly input?: unknown
  /** That of an input that is not stored. */
  readonly hash?: string | undefined
}

/**
 * A part of the inputs of a batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Range {
  /** The index of the first. */
  readonly from: number
  /** The index behind the last. */
  readonly to: number
}

/**
 * A chunk that is taken: as long as no other has taken it since, its `epoch` is that of the database.
 *
 * @since 0.1.0
 * @category models
 */
export interface Taken {
  readonly batch: string
  readonly chunk: number
  /** Rises each time that it is taken. */
  readonly epoch: number
  /** Whether the owner before has not given it back. */
  readonly crashed: boolean
}

/**
 * A chunk that is to be driven.
 *
 * @since 0.1.0
 * @category models
 */
export interface OpenChunk {
  readonly chunk: number
  /** Rises each time that items of it are opened again: what was driven to its end in an earlier round is to be driven again. */
  readonly round: number
  /** Whether somebody has had it. */
  readonly isBegun: boolean
}

/**
 * What a batch does: its inputs are `Loading`, it is `Open`, it was `Cancelled`, or is the `Journal` of a batch of another process.
 *
 * @since 0.1.0
 * @category models
 */
export type BatchState = "Loading" | "Open" | "Cancelled" | "Journal"

/**
 * What whoever drives a chunk has to know of its batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Status {
  readonly endpointId: string | undefined
  readonly state: BatchState
  /** How many chunks it has; 0 until all inputs are stored. */
  readonly chunks: number
  /** How many of them have not been driven to their end. */
  readonly open: number
  /** How many milliseconds are left; missing without a deadline. */
  readonly remaining?: number | undefined
  /** How many more items may fail; missing without a bound. */
  readonly failuresLeft?: number | undefined
  /** How many of them have failed in the chunk asked about without the end of a job: whoever drives it gets their outcomes again. */
  readonly unsettled?: number | undefined
}

/**
 * Why an item has no output, where its job does not tell.
 *
 * @since 0.1.0
 * @category models
 */
export interface Problem {
  readonly key: string
  /** The tag of its error. */
  readonly kind: string
  /** The error, as its schema encodes it. */
  readonly error: unknown
}

/**
 * How many items of a batch stand how.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** How many chunks it has; 0 until all inputs are stored, and for a batch of `journal`. */
  readonly chunks: number
  /** How many items are known. */
  readonly total: number
  /** Those whose job has ended. */
  readonly settled: number
  /** Those whose job is at RunPod. */
  readonly submitted: number
  /** Those that may have been submitted. */
  readonly intended: number
  /** Those that are to be submitted. */
  readonly waiting: number
  /** Those whose outcome is an error, with a job or without one. */
  readonly failed: number
  /** Chunks that have been driven to their end. */
  readonly done: number
  readonly state: BatchState
}

/**
 * A batch, and how many of its items stand how.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchSummary extends Progress {
  /** That of `create` or of `Sql.journal`; a `BatchCluster` has its name, a slash and the id it was given. */
  readonly id: string
  /** Missing until the first run of a `Journal`. */
  readonly endpointId: string | undefined
  /** Milliseconds since 1970, by the clock of the database. */
  readonly createdAt: number
}

/**
 * A part of the list of batches.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListPage {
  /** The last batch of the page before. Default: from the newest on. */
  readonly before?: Pick<BatchSummary, "id" | "createdAt"> | undefined
  /** How many at most. Default: 20. */
  readonly limit?: number | undefined
}

/**
 * A part of a list, in its order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page {
  /** The index of the item before the first. Default: -1, from the start. */
  readonly after?: number | undefined
  /** How many at most. Default: 100. */
  readonly limit?: number | undefined
}

/**
 * The outcome of an item.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredOutcome extends StoredItem {
  /** The end of its job, where that is known. */
  readonly settled?: Settled | undefined
  /** Why it has no output, where the job does not tell. */
  readonly problem?: Problem | undefined
}

/**
 * A store of batches. Each that drives a chunk does so with `take` and `journal`, and so can be of any kind: a loop, a queue's
 * consumer, a workflow.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Stores the inputs of a batch, and gives how many chunks they fill. Done again with the same inputs, after a crash, too, it changes
   * nothing; another input under a key is `InputChanged`.
   */
  readonly create: <E = never, R = never>(
    batch: NewBatch,
    pages: Stream.Stream<ReadonlyArray<NewItem | NewReference>, E, R>
  ) => Effect.Effect<number, BatchJournalError | E, R>
  /** Takes a chunk until the scope closes. `Locked`: another owner has it. */
  readonly take: (id: string, chunk: number) => Effect.Effect<Taken, BatchJournalError, Scope.Scope>
  /** Inputs of a chunk that is taken. */
  readonly inputs: (taken: Taken, page?: Page) => Effect.Effect<ReadonlyArray<StoredItem>, BatchJournalError>
  /** The journal of a chunk that is taken, for `Batch`. */
  readonly journal: (taken: Taken) => Effect.Effect<BatchJournal, BatchJournalError, Scope.Scope>
  /** Notes why items of a chunk that is taken have no output. What is known of their jobs stays. */
  readonly note: (taken: Taken, problems: ReadonlyArray<Problem>) => Effect.Effect<void, BatchJournalError>
  /**
   * Notes that all items of a chunk that is taken have their outcome: each has settled, or a problem. It is not looked for others then. Of
   * items whose job has ended those of `unread` (by key) have an output that cannot be read, and no others any more. Default: none. `Locked`: another has taken the chunk.
   */
  readonly finish: (taken: Taken, unread?: ReadonlyArray<string>) => Effect.Effect<void, BatchJournalError>
  /**
   * The chunks that have not been driven to their end. `roundsOf` chooses for a batch of which no chunk was taken yet, of how many it has, the first
   * round of each, once: that stays. Default: 0.
   */
  readonly open: (
    id: string,
    roundsOf?: (chunks: number) => Effect.Effect<ReadonlyArray<number>>
  ) => Effect.Effect<ReadonlyArray<OpenChunk>, BatchJournalError>
  /** Raises the round of an open chunk, where it is still this one: what was to drive it in this round has ended, and it is to be driven again. */
  readonly raise: (id: string, chunk: Pick<OpenChunk, "chunk" | "round">) => Effect.Effect<void, BatchJournalError>
  /** What a batch does; with `unsettled` of one of its chunks. */
  readonly status: (id: string, chunk?: number) => Effect.Effect<Status, BatchJournalError>
  /** Lets nothing more be submitted. Whoever drives a chunk of it has its jobs cancelled. */
  readonly cancel: (id: string) => Effect.Effect<void, BatchJournalError>
  /**
   * Deletes the inputs, outcomes and journal of a batch that has come to its end, or was cancelled; that of a `journal`, too, once nobody has it. `Locked`:
   * it is still driven, or has items without an outcome. Its id cannot be used again, so that no input of it is submitted a second time.
   */
  readonly remove: (id: string) => Effect.Effect<void, BatchJournalError>
  /**
   * Has items submitted again whose outcome is one of these errors, by tag; gives their chunks, which are to be driven again. What was
   * known of their jobs is gone. `SubmitAmbiguousError`: each may have a job, and gets a second one, unless its job has become known since: that is
   * waited for. `InvalidInput` and `InputChanged`: what is known of a job stays. Where the batch had stopped at its `maxFailures`, its other chunks are to be
   * driven again, too: `open` gives them. `WrongId`: it was cancelled, or its deadline is over. `onReopened` has a chunk driven before the next is opened:
   * where it fails, or the batch is cancelled meanwhile, the others keep their outcomes.
   */
  readonly reopen: <E = never, R = never>(
    id: string,
    kinds: ReadonlyArray<string>,
    onReopened?: (chunk: Pick<OpenChunk, "chunk" | "round">) => Effect.Effect<void, E, R>
  ) => Effect.Effect<ReadonlyArray<number>, BatchJournalError | E, R>
  /** The batches, the newest first. */
  readonly list: (page?: ListPage) => Effect.Effect<ReadonlyArray<BatchSummary>, BatchJournalError>
  /** How a batch stands. */
  readonly progress: (id: string) => Effect.Effect<Progress, BatchJournalError>
  /** The outcomes there are so far, in the order of the inputs. */
  readonly outcomes: (id: string, page?: Page) => Effect.Effect<ReadonlyArray<StoredOutcome>, BatchJournalError>
}

/**
 * The tag of the store of batches.
 *
 * @since 0.1.0
 * @category tags
 */
export class BatchStore extends Context.Tag("effect-runpod-cluster/BatchStore")<BatchStore, Service>() {}

/**
 * How a chunk is driven.
 *
 * @since 0.1.0
 * @category models
 */
export interface DriveOptions<I, IE, O, E = never, R = never> extends Omit<
  Batch.Options<I>,
  | "accept"
  | "journal"
  | "key"
  | "tracker"
  | "deadline"
  | "maxFailures"
  | "maxCost"
  | "onAmbiguous"
  | "onFailed"
  | "cancelOnInterrupt"
> {
  readonly id: string
  readonly chunk: number
  /** What the inputs are in the store. */
  readonly input: Schema.Schema<I, IE>
  /**
   * Gives the inputs of a range that are not stored, each at its place: `undefined` stands for one that is gone. One whose `hash` is another than the
   * store has is an `InputChanged`, and not submitted; what is known of a job of it stays. Needed for a batch of `NewReference`s.
   */
  readonly load?: ((range: Range) => Effect.Effect<ReadonlyArray<I | undefined>, E, R>) | undefined
  /**
   * What becomes of an input that `input` does not accept: its outcome is an `InvalidInput` (`note`), or it stays open (`leave`) for a
   * process with another version of the schema, as does one with fields that `input` would drop. One that may have a job stays open with both.
   * Default: `note`; that of a `BatchCluster` is `leave`.
   */
  readonly onInvalidInput?: "note" | "leave" | undefined
  /** Hears of each outcome, once in this drive, those of earlier drives of the chunk included. Default: nobody does. */
  readonly onOutcome?: ((outcome: Batch.Outcome<I, O>) => Effect.Effect<void>) | undefined
}

/**
 * What became of a chunk: `Finished`, all of its items have an outcome; or it stopped, because the batch was `Cancelled`, has had as many
 * `Failures` as it may, its `Deadline` has passed, or the budget of the program's `Cost` has no room (`Budget`);
 * or all is done but what this process cannot read (`Unread`).
 *
 * @since 0.1.0
 * @category models
 */
export type Driven = "Finished" | "Cancelled" | "Failures" | "Deadline" | "Budget" | "Unread"

/**
 * Drives one chunk: takes it, submits what has no job, waits for what has, and gives it back. For those who bring an engine of their own,
 * which decides only who drives what: done again after a crash, by another process, or by two at once, each input has one outcome. `Locked`:
 * another process drives it.
 *
 * @since 0.1.0
 * @category running
 */
export const drive = <I, IE, O, P, C, E = never, R = never>(
  endpoint: Endpoint<I, O, P, C>,
  options: DriveOptions<I, IE, O, E, R>
): Effect.Effect<Driven, RunError<E>, BatchStore | R> =>
  Effect.flatMap(BatchStore, (store) => driving.drive(store, endpoint, options))
