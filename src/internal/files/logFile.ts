import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Schema from "effect/Schema"

export class AppendLogError extends Schema.TaggedError<AppendLogError>("effect-runpod/AppendLogError")(
  "AppendLogError",
  {
    /** As in `BatchJournalError`. */
    reason: Schema.Literal("Corrupt", "Locked", "Format", "Version", "Io"),
    /** The file; with `Locked`, the lock. */
    file: Schema.String,
    detail: Schema.String,
    line: Schema.optional(Schema.Number),
    /** In bytes from the file's start. */
    offset: Schema.optional(Schema.Number)
  }
) {
  override get message(): string {
    const at = this.line === undefined ? "" : `, line ${this.line} (byte ${this.offset})`
    return `${this.file}${at}: ${this.detail}`
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
  readonly record: unknown
}

export interface LogFile {
  readonly fs: FileSystem
  readonly path: string
}

export const ioError =
  (path: string) =>
  ({ message }: Pick<PlatformError, "message">): AppendLogError =>
    new AppendLogError({ reason: "Io", file: path, detail: message })
