import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import { fromEither } from "../effect/either.js"
import { concatBytes } from "../text/bytes.js"
import type { JsonObject } from "../text/json.js"
import { AppendLogError, type Entry, ioError, type LogFile, type Place, type Position } from "./logFile.js"
import * as RecordLine from "./recordLine.js"

/** Of all logs of this library. Lines of version 1 have no checksum, and no marks for what JSON does not have. */
export const version = 2

export interface ReadOptions<E> {
  /** What kind of log this is; the first field of its header. */
  readonly format: string
  /** More of the header, for a new file. */
  readonly header?: JsonObject | undefined
  /** Gets the header of a file that is there already, before its records. */
  readonly onHeader?: ((header: JsonObject) => Effect.Effect<void, E>) | undefined
  /** Gets every record of a file that is there already, in order, as the file is read. */
  readonly onRecord?: ((entry: Entry) => Effect.Effect<void, E>) | undefined
}

interface Line extends Position {
  readonly bytes: Uint8Array
  /** Whether a line feed ends it. */
  readonly isWhole: boolean
}

const lineFeed = 10

/** Cuts the chunks of a file into lines. `Stream.splitLines` is for text: it knows no bytes, and not whether the last line is whole. */
class LineSplitter {
  private line = 1
  private offset = 0
  /** The beginning of a line whose end is in a later chunk. */
  private parts: Array<Uint8Array> = []

  push(chunk: Uint8Array): ReadonlyArray<Line> {
    const lines: Array<Line> = []
    let from = 0
    for (let end = chunk.indexOf(lineFeed); end >= 0; end = chunk.indexOf(lineFeed, from)) {
      lines.push(this.take(chunk.subarray(from, end), true))
      from = end + 1
    }
    if (from < chunk.length) this.parts.push(chunk.subarray(from))
    return lines
  }

  end(): ReadonlyArray<Line> {
    return this.parts.length === 0 ? [] : [this.take(new Uint8Array(0), false)]
  }

  private take(last: Uint8Array, isWhole: boolean): Line {
    const bytes = this.parts.length === 0 ? last : concatBytes([...this.parts, last])
    const line: Line = { line: this.line, offset: this.offset, length: bytes.length, bytes, isWhole }
    this.parts = []
    this.line++
    this.offset += bytes.length + 1
    return line
  }
}

const linesOf = ({ fs, path }: LogFile): Stream.Stream<Line, AppendLogError> =>
  Stream.suspend(() => {
    const splitter = new LineSplitter()
    return Stream.concat(
      Stream.mapConcat(fs.stream(path), (chunk) => splitter.push(chunk)),
      Stream.suspend(() => Stream.fromIterable(splitter.end()))
    )
  }).pipe(Stream.mapError(ioError(path)))

const problems = {
  NotJson: "this line is not JSON",
  Damaged: "this line is damaged: its checksum is not that of what it holds"
}

const corrupt = (
  { path }: LogFile,
  at: { readonly offset: number; readonly line?: number },
  problem: keyof typeof problems
) => {
  const detail = `${problems[problem]}. Restore the file from a copy, or remove the line if you know what it held.`
  return new AppendLogError({ reason: "Corrupt", file: path, ...at, detail })
}

const entryOf = (
  log: LogFile,
  { bytes, length, line, offset }: Line,
  decode: typeof RecordLine.decode
): Effect.Effect<Entry, AppendLogError> =>
  Effect.mapBoth(fromEither(decode(bytes)), {
    onFailure: (problem) => corrupt(log, { line, offset }, problem),
    onSuccess: (record) => ({ record, length, line, offset })
  })

const headerOf = <E>({ format, header }: ReadOptions<E>): JsonObject => ({ format, version, ...header })

/** The first line of a file as it is, or an error that says why it is none of ours. */
const readHeader = <E>(
  log: LogFile,
  { format }: Pick<ReadOptions<E>, "format">,
  line: Line
): Either.Either<JsonObject, AppendLogError> => {
  const position = { line: 1, offset: 0 }
  const at = { file: log.path, ...position }
  return Either.mapLeft(RecordLine.decodeUnsealed(line.bytes), (problem) => corrupt(log, position, problem)).pipe(
    Either.flatMap((header) => {
      if (header["format"] !== format) {
        const detail = `this is no file of the format ${format}. Give another path.`
        return Either.left(new AppendLogError({ reason: "Format", ...at, detail }))
      }
      const found = header["version"]
      if (typeof found !== "number" || found > version) {
        const detail = `it has version ${String(found)}, and this version of effect-runpod knows ${version} and below. Update effect-runpod.`
        return Either.left(new AppendLogError({ reason: "Version", ...at, detail }))
      }
      // A damaged version must not look like the one without checksums.
      if (found < version && !RecordLine.isSealed(line.bytes)) return Either.right(header)
      return Either.mapLeft(RecordLine.decode(line.bytes), (problem) => corrupt(log, position, problem))
    })
  )
}

/**
 * The end of a write that a crash cut off was never acknowledged, so it may be cut away. But one that begins with a whole
 * record was a whole line, and a first line that is no beginning of our header is somebody else's file.
 */
const checkTornLine = <E>(log: LogFile, options: ReadOptions<E>, line: Line): Effect.Effect<void, AppendLogError> => {
  const at = { line: line.line, offset: line.offset }
  if (line.line > 1) return RecordLine.isOverrun(line.bytes) ? corrupt(log, at, "Damaged") : Effect.void
  const header = Either.getOrUndefined(RecordLine.encode(headerOf(options)))
  if (line.bytes.every((byte, i) => byte === header?.[i])) return Effect.void
  const detail = `this is no file of the format ${options.format}. Give another path.`
  return new AppendLogError({ reason: "Format", file: log.path, ...at, detail })
}

/** What a log holds already. */
export interface Contents {
  readonly header: JsonObject
  /** The length of its whole lines, in bytes: 0 when there is no file or no whole header. */
  readonly size: number
}

export const isOld = ({ header }: Contents): boolean => header["version"] !== version

/** Reads a log from its start; of an older version, only its header: see `AppendLog.open`. */
export const replay = Effect.fnUntraced(function* <E>(
  log: LogFile,
  options: ReadOptions<E>
): Effect.fn.Return<Contents, AppendLogError | E> {
  const { onHeader = () => Effect.void, onRecord = () => Effect.void } = options
  let contents: Contents = { header: headerOf(options), size: 0 }
  if (!(yield* Effect.mapError(log.fs.exists(log.path), ioError(log.path)))) return contents
  yield* Stream.runForEach(linesOf(log), (line): Effect.Effect<void, AppendLogError | E> => {
    if (!line.isWhole) return checkTornLine(log, options, line)
    const size = line.offset + line.length + 1
    if (line.line > 1) {
      contents = { ...contents, size }
      return isOld(contents) ? Effect.void : Effect.flatMap(entryOf(log, line, RecordLine.decode), onRecord)
    }
    return Effect.flatMap(fromEither(readHeader(log, options, line)), (header) => {
      contents = { header, size }
      return onHeader(header)
    })
  })
  return contents
})

/** All records from the start. A line that is just being written is not there yet. */
export const readAll = (log: LogFile, decode = RecordLine.decode): Stream.Stream<Entry, AppendLogError> =>
  linesOf(log).pipe(
    Stream.drop(1),
    Stream.filter((line) => line.isWhole),
    Stream.mapEffect((line) => entryOf(log, line, decode))
  )

const readBytes = Effect.fnUntraced(function* ({ fs, path }: LogFile, { length, offset }: Place) {
  const handle = yield* fs.open(path, { flag: "r" })
  yield* handle.seek(offset, "start")
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length;) {
    const count = Number(yield* handle.read(bytes.subarray(at)))
    if (count === 0) break
    at += count
  }
  return bytes
}, Effect.scoped)

export const readAt = (log: LogFile, place: Place): Effect.Effect<JsonObject, AppendLogError> =>
  readBytes(log, place).pipe(
    Effect.mapError(ioError(log.path)),
    Effect.flatMap((bytes) =>
      Effect.mapError(fromEither(RecordLine.decode(bytes)), (problem) =>
        corrupt(log, { offset: place.offset }, problem)
      )
    )
  )
