import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { concatBytes, utf8 } from "../text/bytes.js"
import { isJsonObject, type JsonObject } from "../text/json.js"
import { AppendLogError, type Entry, ioError, type LogFile, type Place, type Position } from "./logFile.js"

export interface ReadOptions<E> {
  /** What kind of log this is; the first field of its header. */
  readonly format: string
  /** Of the records' form. Files of a higher version are refused, older ones given to `onHeader`. */
  readonly version: number
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

const parse = ({ path }: LogFile, bytes: Uint8Array, at: { readonly offset: number; readonly line?: number }) =>
  Effect.try({
    try: (): unknown => JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)),
    catch: () => {
      const detail = "this line is not JSON. Restore the file from a copy, or remove the line if you know what it held."
      return new AppendLogError({ reason: "Corrupt", file: path, ...at, detail })
    }
  })

const entryOf = (log: LogFile, { bytes, length, line, offset }: Line): Effect.Effect<Entry, AppendLogError> =>
  Effect.map(parse(log, bytes, { line, offset }), (record) => ({ record, length, line, offset }))

/** The first line of a new log, without its line feed. */
export const headerLine = <E>({ format, header, version }: ReadOptions<E>): string =>
  JSON.stringify({ format, version, ...header })

const checkHeader = <E>({ path }: LogFile, { format, version }: ReadOptions<E>, header: unknown) => {
  const at = { file: path, line: 1, offset: 0 }
  if (!isJsonObject(header) || header["format"] !== format) {
    const detail = `this is no file of the format ${format}. Give another path.`
    return new AppendLogError({ reason: "Format", ...at, detail })
  }
  const found = header["version"]
  if (typeof found !== "number" || found > version) {
    const detail = `it has version ${String(found)}, and this version of effect-runpod knows ${version} and below. Update effect-runpod.`
    return new AppendLogError({ reason: "Version", ...at, detail })
  }
  return Effect.succeed(header)
}

/**
 * The end of a write that a crash cut off was never acknowledged, so it may be cut away. But a first line that is no
 * beginning of our header is somebody else's file.
 */
const checkTornLine = <E>(log: LogFile, options: ReadOptions<E>, line: Line): Effect.Effect<void, AppendLogError> => {
  const header = utf8(headerLine(options))
  const isOurs = line.line > 1 || line.bytes.every((byte, i) => byte === header[i])
  return isOurs ? Effect.void : Effect.asVoid(checkHeader(log, options, undefined))
}

/** Reads a log from its start, and gives the length of its whole lines: 0 when there is no file or no whole header. */
export const replay = Effect.fnUntraced(function* <E>(
  log: LogFile,
  options: ReadOptions<E>
): Effect.fn.Return<number, AppendLogError | E> {
  const { onHeader = () => Effect.void, onRecord = () => Effect.void } = options
  if (!(yield* Effect.mapError(log.fs.exists(log.path), ioError(log.path)))) return 0
  let size = 0
  yield* Stream.runForEach(linesOf(log), (line): Effect.Effect<void, AppendLogError | E> => {
    if (!line.isWhole) return checkTornLine(log, options, line)
    size = line.offset + line.length + 1
    const entry = entryOf(log, line)
    return line.line > 1
      ? Effect.flatMap(entry, onRecord)
      : Effect.flatMap(entry, ({ record }) => Effect.flatMap(checkHeader(log, options, record), onHeader))
  })
  return size
})

/** All records from the start. A line that is just being written is not there yet. */
export const readAll = (log: LogFile): Stream.Stream<Entry, AppendLogError> =>
  linesOf(log).pipe(
    Stream.drop(1),
    Stream.filter((line) => line.isWhole),
    Stream.mapEffect((line) => entryOf(log, line))
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

export const readAt = (log: LogFile, place: Place): Effect.Effect<unknown, AppendLogError> =>
  readBytes(log, place).pipe(
    Effect.mapError(ioError(log.path)),
    Effect.flatMap((bytes) => parse(log, bytes, { offset: place.offset }))
  )
