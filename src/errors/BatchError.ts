/**
 * What can go wrong with a batch as a whole. What goes wrong with one of its items is an outcome.
 *
 * @since 0.1.0
 */
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as Errors from "./RunPodError.js"
import { budgetFields, budgetSays, unbounded } from "./budgetExceeded.js"
import { FileProblem } from "./FileError.js"
import { taggedError } from "./taggedError.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-runpod/BatchError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * The journal of a batch cannot be used, or does not fit the batch. No part of an input or of a secret is in it.
 *
 * @since 0.1.0
 * @category errors
 */
export class BatchJournalError extends taggedError<BatchJournalError>()(
  "BatchJournalError",
  {
    /**
     * - `InputChanged`: an item has another input than the one the journal knows under its key
     * - `DuplicateKey`: two items of one run have the same key
     * - `InvalidOption`: an option of the batch is not what it may be, or its id is empty or no well-formed Unicode
     * - `InvalidKey`: the key of an item is not a string, is empty, or is no well-formed Unicode
     * - `WrongEndpoint`, `WrongId`: the journal belongs to another batch
     * - `Locked`: another run has the journal, or nobody can tell
     * - `Corrupt`: a line of the file cannot be read or has a wrong checksum, and is not the torn end of a write
     * - `Format`, `Version`: the file is something else, or was written by a version that this one does not know
     * - `Unstorable`: an entry that cannot be written, such as an output with a function in it; nothing was written. It ends
     *   only its item, not the batch
     * - `Empty`: there is no journal to read
     * - `Io`: the file system, or whatever stores the journal, failed
     */
    reason: Schema.Literal(
      "InputChanged",
      "DuplicateKey",
      "InvalidOption",
      "InvalidKey",
      "WrongEndpoint",
      "WrongId",
      "Locked",
      "Corrupt",
      "Format",
      "Version",
      "Unstorable",
      "Empty",
      "Io"
    ),
    /** What happened, and what to do. */
    detail: Schema.String,
    /** The journal's file; with `Locked`, the lock's. */
    file: Schema.optional(Schema.String),
    /** The item's key. */
    key: Schema.optional(Schema.String),
    /** Of the file, counting from 1. */
    line: Schema.optional(Schema.Number),
    /** Where the line begins, counting from 0. */
    byte: Schema.optional(Schema.Number),
    /** With `Io` of a file: what the file system says. */
    problem: Schema.optional(FileProblem)
  },
  {
    typeId: TypeId,
    mark: (): TypeId => TypeId,
    message: ({ byte, detail, file, key, line }) => {
      const at = line === undefined ? "" : `, line ${line} (byte ${byte})`
      const item = key === undefined ? "" : `, key "${key}"`
      return `Batch journal${file === undefined ? "" : ` ${file}`}${at}${item}: ${detail}`
    }
  }
) {}

/**
 * A batch ended before all of its inputs had an outcome, because its options said so. What was in flight has settled.
 *
 * @since 0.1.0
 * @category errors
 */
export class BatchStoppedError extends taggedError<BatchStoppedError>()(
  "BatchStoppedError",
  {
    endpointId: Schema.String,
    /**
     * `Deadline`: the batch's `deadline` passed. `Failures`: so many items failed as `maxFailures` says. `Budget`: the next job could
     * cost more than is left of a `maxCost`, that of the batch or of `Cost.layer`.
     */
    reason: Schema.Literal("Deadline", "Failures", "Budget"),
    /** How many items had an outcome. */
    settled: Schema.Number,
    /** With `Budget`: where it stood, in USD, when nothing of the batch was in flight any more. */
    budget: Schema.optional(Schema.Struct(budgetFields))
  },
  {
    typeId: TypeId,
    mark: (): TypeId => TypeId,
    message: ({ budget, endpointId, reason, settled }) => {
      const why = {
        Deadline: "its deadline passed",
        Failures: "as many items failed as `maxFailures` allows",
        Budget: `its budget has no room for the next job${budget === undefined ? "" : ` (${budgetSays(budget)})`}`
      }
      const stopped = `The batch on endpoint ${endpointId} stopped after ${settled} outcomes: ${why[reason]}.`
      return reason === "Budget"
        ? `${stopped} To go on, raise \`maxCost\` and run it again with the same journal. ${unbounded}`
        : `${stopped} Run it again with the same journal to go on, or raise the option.`
    }
  }
) {}

/**
 * Any error of a batch's own.
 *
 * @since 0.1.0
 * @category errors
 */
export type BatchError = BatchJournalError | BatchStoppedError

/**
 * Whether a value is an error of a batch's own.
 *
 * @since 0.1.0
 * @category guards
 */
export const isBatchError = (value: unknown): value is BatchError => hasProperty(value, TypeId)

/**
 * What would hit every item alike, and so ends the batch instead of being an outcome: the key or the endpoint is wrong, the
 * endpoint is paused, or there is no way to RunPod (from the start, or for five minutes). `RequestTimeoutError` is the end of
 * a `RunPod.withDeadline` around the batch.
 *
 * @since 0.1.0
 * @category errors
 */
export type FatalError =
  | Errors.AuthenticationError
  | Errors.PermissionDeniedError
  | Errors.EndpointNotFoundError
  | Errors.EndpointPausedError
  | Errors.TransportError
  | Errors.RequestTimeoutError

/**
 * The errors of a batch as a whole, beside those of its inputs. `ServerError` and `DecodeError`: something else than RunPod, such as a
 * proxy, has answered the first ten submits, or `parseJson` has refused their answers; they are in doubt. `BadRequestError`: it has a
 * `maxCost`, and nobody knows what its jobs cost.
 *
 * @since 0.1.0
 * @category errors
 */
export type RunError<E = never> =
  FatalError | Errors.ServerError | Errors.DecodeError | Errors.BadRequestError | BatchJournalError | E
