/**
 * What a batch writes down so that it can be killed at any moment and go on later: for each item an intent before its
 * submit, the job's id after it, and the outcome before it is given out. A later run may submit a failed item again
 * (`onFailed`): its newest entry counts. Outputs are in it as the jobs returned them; of inputs only the SHA-256, and no webhook,
 * S3 credentials or API key but those that a worker puts into its output.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { BatchJournalError } from "../errors/BatchError.js"
import * as internal from "../internal/batch/journal.js"
import type { Entry, Intent, Released, Settled, State, Submitted, Work } from "../schemas/JournalEntry.js"

/**
 * A journal. One run at a time uses it.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchJournal {
  /** Begins a run, until the scope closes. `WrongEndpoint`: it is another endpoint's; `Locked`: another run has it. */
  readonly begin: (endpointId: string) => Effect.Effect<void, BatchJournalError, Scope.Scope>
  /** How an item stands. */
  readonly find: (key: string) => Effect.Effect<Option.Option<State>, BatchJournalError>
  /** The outcome of a settled item. */
  readonly outcome: (key: string) => Effect.Effect<Option.Option<Settled>, BatchJournalError>
  /** The items that were submitted and have not settled. */
  readonly submitted: Effect.Effect<ReadonlyArray<Submitted>, BatchJournalError>
  /**
   * How an item stands of which `find` knows only an intent, once no earlier run can tell of its job any more: the process of one that was
   * taken for dead may live, and have the answer. Meanwhile the batch goes on with other items. Default: nobody else tells.
   */
  readonly awaitJob?: ((key: string) => Effect.Effect<Option.Option<State>, BatchJournalError>) | undefined
  /**
   * Whether the inputs come from where the journal is, so that a key has one input for ever: what it is sent as may change then, as by another
   * version of its schema. Entries have an empty `hash` then. Default: false, another input under a key is `InputChanged`.
   */
  readonly hasInputs?: boolean | undefined
  /**
   * How long after `append` was called for an intent its submit may leave: one that has not left by then, as in a process that was stopped, is not sent, but
   * released, and its intent appended anew. For journals that another process may take over; much longer than an append takes, or the batch ends with `Io`.
   * Default: for ever.
   */
  readonly intentTtl?: Duration.DurationInput | undefined
  /** How long jobs were on workers so far, item by item: what a `maxCost` counts of earlier runs. A batch that has one needs it. */
  readonly work?: Effect.Effect<Iterable<Work>, BatchJournalError> | undefined
  /**
   * Adds an entry; when it has succeeded, the entry is safe. `Unstorable`: it cannot be written, for what is in it, and nothing
   * was; a batch ends only its item then.
   */
  readonly append: (entry: Entry) => Effect.Effect<void, BatchJournalError>
}

/**
 * A journal that is gone with its process: for tests, and to go on with a batch that failed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const memory: Effect.Effect<BatchJournal> = Effect.sync(internal.memory)

/**
 * When entries are forced to the disk. All of these survive the death of the process (`kill -9`); they differ in what a
 * power failure or a crash of the machine can take, and after that an item may be submitted a second time.
 *
 * - `always`: nothing. Each of an item's three entries waits for an `fsync` that it shares with all entries that come
 *   meanwhile, 0.1 to 10 milliseconds by the disk.
 * - `{ every }`: what was written in that time. One `fsync` in that time; nothing waits for it.
 * - `never`: what the system had not written by itself, usually the last 30 seconds. No cost.
 *
 * @since 0.1.0
 * @category models
 */
export type Sync = "always" | "never" | { readonly every: Duration.DurationInput }

/**
 * Options of a journal in a file.
 *
 * @since 0.1.0
 * @category models
 */
export interface FileOptions {
  /** Names the batch. A file that was made under another name is refused. */
  readonly id?: string | undefined
  /** Default: `always`. */
  readonly sync?: Sync | undefined
  /**
   * Opens the file although another process seems to have it, or it has hard links. If that process lives, both submit the same
   * items. Needed after a restart of the machine or container that left its lock behind. Default: false.
   */
  readonly force?: boolean | undefined
}

/**
 * A journal in an append-only file of JSON lines, each with a checksum. `BatchJournalError` says in `reason` why it cannot be
 * opened.
 *
 * - **One process** has it until the scope closes, by a lock beside it (its real path and `.lock`), whatever symbolic links lead
 *   to it. Hard links are refused. A file mounted into a container by itself has no place for a lock that others see: mount its
 *   folder.
 * - **The lock of a dead process** is taken over where it can be told that it is dead: on the same boot of the same machine, in the
 *   same PID namespace. The lock of another container, or from before a restart, is that of another machine, even under the same
 *   host name: remove it, or pass `force`.
 * - **Damage**: a torn last line, which was never acknowledged, is dropped. Any other line that was changed is `Corrupt`, with its
 *   line and byte.
 * - **Outputs** may be nested to any depth, and may hold BigInts and dates of a `parseJson` of your own. An object without a
 *   prototype comes back as an ordinary one. What is no plain data, or too long for a string, is an `OutputDecodeError` of its item (`isUnstorable`), which stays open.
 * - **History**: a file that is history in more than half of its lines is rewritten without it when it is opened, as is one of an
 *   earlier version.
 *
 * @example
 * ```ts
 * import { Batch, BatchJournal, type Endpoint } from "effect-runpod"
 * import { Effect } from "effect"
 *
 * // Run it again after a crash: what was settled is replayed, what was submitted is waited for.
 * const upscaleAll = (upscale: Endpoint.Endpoint<string, URL>, images: ReadonlyArray<string>) =>
 *   Effect.gen(function* () {
 *     const journal = yield* BatchJournal.file("upscale.jsonl")
 *     return yield* Batch.collect(upscale, images, { key: (image) => image, journal })
 *   }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const file = (
  path: string,
  options: FileOptions = {}
): Effect.Effect<BatchJournal, BatchJournalError, FileSystem.FileSystem | Scope.Scope> => internal.file(path, options)

/**
 * How an item stands, of a settled one without its output.
 *
 * @since 0.1.0
 * @category models
 */
export type Item = Intent | Submitted | Released | Omit<Settled, "output">

/**
 * How the batch of a journal's file stands.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  /** Missing before its first run. */
  readonly endpointId?: string | undefined
  /** As in `FileOptions`. */
  readonly id?: string | undefined
  /** The items that the batch has come to, by their newest entries. */
  readonly items: ReadonlyArray<Item>
}

/**
 * Reads how the batch of a journal's file stands, without its lock and without a change to the file: the batch may go on meanwhile, and
 * the torn end of a crash is left out. A file that is missing or empty is `Empty`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const read = (path: string): Effect.Effect<Snapshot, BatchJournalError, FileSystem.FileSystem> =>
  internal.read(path)
