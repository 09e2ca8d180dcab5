import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { JsonObject } from "../text/json.js"
import { FileProblem } from "../../errors/FileError.js"
import { visible } from "../text/visible.js"
import { problemOf } from "./problem.js"

export class AppendLogError extends Schema.TaggedError<AppendLogError>("effect-runpod/AppendLogError")(
  "AppendLogError",
  {
    /** As in `BatchJournalError`. */
    reason: Schema.Literal("Corrupt", "Locked", "Format", "Version", "Unstorable", "Io"),
    /** The file; with `Locked`, the lock. */
    file: Schema.String,
    detail: Schema.String,
    line: Schema.optional(Schema.Number),
    /** In bytes from the file's start. */
    offset: Schema.optional(Schema.Number),
    /** With `Io`, where the file system failed: as in `FileError`. */
    problem: Schema.optional(FileProblem)
  }
) {
  override get message(): string {
    const at = this.line === undefined ? "" : `, line ${this.line} (byte ${this.offset})`
    return visible(`${this.file}${at}: ${this.detail}`)
  }
}

export interface Position {
  /** Counting from 1; the header is line 1. */
  readonly line: number
  /** Of the first byte. */
  readonly offset: number
  /** In bytes, without the line feed. */
  readonly length: number
}

/** What it takes to read a record again, until the next compaction. */
export type Place = Pick<Position, "offset" | "length">

export interface Entry extends Position {
  readonly record: JsonObject
}

export interface LogFile {
  readonly fs: FileSystem
  /** The real one: no part of it is a symbolic link. */
  readonly path: string
}

/** A path before and behind its last separator. */
export const splitPath = (path: string): { readonly folder: string; readonly name: string } => {
  const slash = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"))
  return { folder: slash < 0 ? "." : path.slice(0, Math.max(1, slash)), name: path.slice(slash + 1) }
}

/** Forces the names in a file's folder to the disk, where that can be done. */
export const syncFolder = ({ fs, path }: LogFile): Effect.Effect<void> => {
  const { folder } = splitPath(path)
  return Effect.scoped(Effect.flatMap(fs.open(folder, { flag: "r" }), (folder) => folder.sync)).pipe(Effect.ignore)
}

export const isMissing = (error: PlatformError): boolean => error._tag === "SystemError" && error.reason === "NotFound"

/** What the file system says of a file of ours. */
export const ioError =
  (path: string) =>
  (error: PlatformError): AppendLogError => {
    const { detail, reason } = problemOf(path)(error)
    return new AppendLogError({ reason: "Io", file: path, detail, problem: reason })
  }

/** A file that cannot be one of ours. */
export const unfit = (path: string, detail: string): AppendLogError =>
  new AppendLogError({ reason: "Io", file: path, detail, problem: "Unfit" })
