import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { concatBytes } from "../text/bytes.js"
import { type AppendLogError, encodeLine, ioError, type LogFile, type Position } from "./logFile.js"
import type { LogWriter } from "./logWriter.js"

/** What a log is to hold from now on. */
export interface Compaction<E> {
  readonly log: LogFile
  readonly writer: LogWriter
  /** The first line, with its line feed. */
  readonly header: Uint8Array
  readonly records: Stream.Stream<unknown, E>
  readonly onRecord: ((record: unknown, position: Position) => void) | undefined
}

/** Writes the records to a file of its own, and gives the file's size. */
const writeDraft = <E>(draft: LogFile, { header, log, onRecord, records }: Compaction<E>) =>
  Effect.gen(function* () {
    const toIo = Effect.mapError(ioError(log.path))
    const file = yield* toIo(draft.fs.open(draft.path, { flag: "w" }))
    yield* toIo(file.writeAll(header))
    let line = 1
    let offset = header.length
    yield* Stream.runForEachChunk(records, (chunk) =>
      Effect.suspend(() => {
        const lines = Array.from(chunk, (record) => {
          const bytes = encodeLine(record)
          line++
          onRecord?.(record, { line, offset, length: bytes.length - 1 })
          offset += bytes.length
          return bytes
        })
        return lines.length === 0 ? Effect.void : toIo(file.writeAll(concatBytes(lines)))
      })
    )
    yield* toIo(file.sync)
    return offset
  }).pipe(Effect.scoped)

/** Replaces a log's file by one with only these records: see `AppendLog.compact`. */
export const compact = <E>(compaction: Compaction<E>): Effect.Effect<void, AppendLogError | E> => {
  const { log, writer } = compaction
  const draft: LogFile = { fs: log.fs, path: `${log.path}.compact` }
  return writeDraft(draft, compaction).pipe(
    Effect.flatMap((size) => writer.replaceWith(draft.path, size)),
    Effect.onError(() => Effect.ignore(log.fs.remove(draft.path, { force: true }))),
    (rewrite) => writer.exclusively(rewrite)
  )
}

/** Whether a log holds so much more than what is needed of it that rewriting pays. */
export const isWorthCompacting = (records: number, needed: number): boolean => records > 2 * needed + 1_000
