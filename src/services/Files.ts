/**
 * Files that a program writes for its user: none is written that is read at the same time, one that is there stays as it was until there is
 * something to put in its place, and a new one is for its user alone (mode 600, a new folder 700, or less by the umask).
 *
 * `BatchJournal.file`, `Flight.layer` and `WebhookStore.layerFile` make their files by the same rules.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { FileError } from "../errors/FileError.js"
import * as FileUse from "../internal/files/fileUse.js"
import * as LineWriter from "../internal/files/lineWriter.js"
import { problemOf } from "../internal/files/problem.js"

/**
 * What an error of the file system means: a sentence about the file, and what to do.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromPlatformError: (file: string) => (error: PlatformError) => FileError = problemOf

/**
 * What a file is used for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Use {
  /** What the user calls it, such as `--out`. */
  readonly name: string
  readonly path: string
  readonly access: "read" | "write"
}

/**
 * Fails when a file that is written is also used for something else, whatever links lead to it: files are compared by device and inode, and those
 * that are not there yet by their folder and name. Pipes and devices may be shared. Call it before anything is opened.
 *
 * @example
 * ```ts
 * import { Files } from "effect-runpod"
 *
 * export const checked = Files.checkDistinct([
 *   { name: "--inputs", path: "prompts.jsonl", access: "read" },
 *   { name: "--out", path: "./prompts.jsonl", access: "write" }
 * ]) // fails with a FileError `Same`
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const checkDistinct: (uses: ReadonlyArray<Use>) => Effect.Effect<void, FileError, FileSystem.FileSystem> =
  FileUse.checkDistinct

/**
 * Fails where a file cannot be read, or is a folder. A pipe or a device may be read.
 *
 * @since 0.1.0
 * @category combinators
 */
export const checkReadable: (path: string) => Effect.Effect<void, FileError, FileSystem.FileSystem> =
  FileUse.checkReadable

/**
 * Whether a path leads to a regular file, which can be read more than once.
 *
 * @since 0.1.0
 * @category combinators
 */
export const isRegular: (path: string) => Effect.Effect<boolean, never, FileSystem.FileSystem> = FileUse.isRegular

/**
 * Makes the folder of a file, for its user alone, where only that one is missing: more missing folders are more likely a mistyped path.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeFolder = (path: string): Effect.Effect<void, FileError, FileSystem.FileSystem> =>
  FileUse.makeFolder(path)

/**
 * Fails where a path could not be written: a folder, a file that this user may not write, a read-only file system. Nothing is changed.
 *
 * @since 0.1.0
 * @category combinators
 */
export const checkWritable = (path: string): Effect.Effect<void, FileError, FileSystem.FileSystem> =>
  LineWriter.checkWritable(path)

/**
 * Writes a whole file: beside, and then renamed, so that a crash or a full disk leaves the old one as it was. A link stays a link, and an existing
 * file keeps its mode; a pipe or a device is written to. Where only the folder of the file is missing, it is made.
 *
 * @since 0.1.0
 * @category constructors
 */
export const replace = (
  path: string,
  content: string | Uint8Array
): Effect.Effect<void, FileError, FileSystem.FileSystem> =>
  LineWriter.replace(path, typeof content === "string" ? new TextEncoder().encode(content) : content)

/**
 * A file that grows line by line.
 *
 * @since 0.1.0
 * @category models
 */
export interface Writer {
  /** Writes a text behind those before. What a full disk cut off is taken away again. */
  readonly write: (text: string) => Effect.Effect<void, FileError>
  /** What the file held before is given up: what was written stands in its place, and what is written from here on follows it. */
  readonly accept: Effect.Effect<void, FileError>
  /** The file beside that holds what was written and not accepted. It stays when the scope closes. */
  readonly beside: Effect.Effect<string | undefined>
}

/**
 * Opens a file that grows, when its first line comes. Until `accept`, an existing file that holds something stays as it is, and lines go to a new
 * file beside it, which `accept` renames. Fails at once where it could not be written; nothing is changed by that.
 *
 * @since 0.1.0
 * @category constructors
 */
export const writer = (path: string): Effect.Effect<Writer, FileError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const lines = yield* LineWriter.make(path)
    const { withPermits } = yield* Effect.makeSemaphore(1)
    return {
      write: (text) => withPermits(1)(lines.write(text)),
      accept: withPermits(1)(lines.accept),
      beside: Effect.sync(() => lines.beside)
    }
  })
