/** A file that is to take the place of a log's, atomically: a crash leaves the one or the other. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import { concatBytes } from "../text/bytes.js"
import { AppendLogError, ioError, type LogFile, type Position } from "./logFile.js"
import * as RecordLine from "./recordLine.js"
import * as UserFile from "./userFile.js"

/** A record's line with its line feed. */
export const encode = ({ path }: LogFile, record: object): Either.Either<Uint8Array, AppendLogError> =>
  Either.mapLeft(RecordLine.encode(record), (detail) => {
    return new AppendLogError({ reason: "Unstorable", file: path, detail })
  })

const pathOf = ({ path }: LogFile): string => `${path}.compact`

/** Writes the draft, and gives its size. `onRecord` gets the positions of the records. */
export const write = <A extends object, E>(
  log: LogFile,
  header: object,
  records: Stream.Stream<A, E>,
  onRecord?: (record: A, position: Position) => void
): Effect.Effect<number, AppendLogError | E> =>
  Effect.gen(function* () {
    const toIo = Effect.mapError(ioError(log.path))
    // What a crash has left.
    yield* discard(log)
    const file = yield* toIo(
      Effect.flatMap(log.fs.stat(log.path), (old) => UserFile.openDraft(log.fs, pathOf(log), old))
    )
    const first = yield* encode(log, header)
    yield* toIo(file.writeAll(first))
    let line = 1
    let offset = first.length
    const lineOf = (record: A) =>
      Either.map(encode(log, record), (bytes) => {
        line++
        onRecord?.(record, { line, offset, length: bytes.length - 1 })
        offset += bytes.length
        return bytes
      })
    yield* Stream.runForEachChunk(records, (chunk) =>
      Effect.flatMap(Effect.forEach(chunk, lineOf), (lines) =>
        lines.length === 0 ? Effect.void : toIo(file.writeAll(concatBytes(lines)))
      )
    )
    yield* toIo(file.sync)
    return offset
  }).pipe(Effect.scoped)

export const discard = (log: LogFile): Effect.Effect<void> => UserFile.discard(log.fs, pathOf(log))

/** Puts the draft in the log's place. */
export const promote = (log: LogFile): Effect.Effect<void, AppendLogError> =>
  Effect.mapError(UserFile.promote(log.fs, pathOf(log), log.path), ioError(log.path))
