/**
 * What can go wrong with a file that a program names.
 *
 * @since 0.1.0
 */
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { taggedError } from "./taggedError.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-runpod/FileError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * What is wrong with a file:
 *
 * - `Missing`: there is no such file, or no such folder
 * - `Folder`: the path is a folder
 * - `Unfit`: no file can have this path, or it is no regular file where one is needed
 * - `Denied`: the user may not read or write it
 * - `ReadOnly`: the file system takes no changes
 * - `Full`: the disk, or the user's share of it, is full
 * - `Same`: it is used for something else at the same time
 * - `Io`: anything else
 *
 * @since 0.1.0
 * @category schemas
 */
export const FileProblem = Schema.Literal("Missing", "Folder", "Unfit", "Denied", "ReadOnly", "Full", "Same", "Io")

/**
 * @since 0.1.0
 * @category models
 */
export type FileProblem = typeof FileProblem.Type

/**
 * A file cannot be read or written.
 *
 * @since 0.1.0
 * @category errors
 */
export class FileError extends taggedError<FileError>()(
  "FileError",
  {
    reason: FileProblem,
    /** The path as it was given. */
    file: Schema.String,
    /** What happened, and what to do. */
    detail: Schema.String,
    /** The system's code, such as `ENOSPC`. */
    code: Schema.optional(Schema.String)
  },
  {
    typeId: TypeId,
    mark: (): TypeId => TypeId,
    message: ({ detail, file }) => `${file}: ${detail}`
  }
) {}

/**
 * Whether a value is an error of a file.
 *
 * @since 0.1.0
 * @category guards
 */
export const isFileError = (value: unknown): value is FileError => hasProperty(value, TypeId)
