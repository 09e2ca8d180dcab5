import type { PlatformError } from "@effect/platform/Error"
import { FileSystem } from "@effect/platform/FileSystem"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { concatBytes } from "../text/bytes.js"
import * as FileLock from "./lock.js"
import { defined, isJsonObject, type JsonObject } from "../text/json.js"
import * as ThisProcess from "./process.js"

/**
 * When appended records are forced to the disk. The operating system loses nothing when only the process dies: all of these
 * survive `kill -9`. They differ in what a power failure or a crash of the machine takes.
 *
 * - `always`: nothing that was acknowledged. Costs one `fsync` per group of concurrent appends (0.1 to 10 ms).
 * - `{ every }`: at most what was appended in that time. Costs one `fsync` in that time.
 * - `never`: whatever the system had not written by itself, usually the last 30 seconds. Costs nothing.
 */
export type Sync = "always" | "never" | { readonly every: Duration.DurationInput }

/** Where a record stands in its file. */
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

/** A record as it was read. */
export interface Entry extends Position {
  readonly record: unknown
}

/** What can go wrong with a log. */
export class AppendLogError extends Schema.TaggedError<AppendLogError>("effect-runpod/AppendLogError")(
  "AppendLogError",
  {
    /**
     * - `Corrupt`: a line that is no record, and not the torn end of a write
     * - `Locked`: another process has the file, or nobody can tell
     * - `Format`: the file is something else
     * - `Version`: the file was written by a version that this one does not know
     * - `Io`: the file system failed
     */
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

/** The choices of a log. */
export interface Options<E = never> {
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
  readonly sync: Sync
  /** Takes the lock whoever has it. Default: false. */
  readonly force?: boolean | undefined
  /** Default: what the runtime says. Where nobody can tell, the lock of another is never taken over. */
  readonly process?: ThisProcess.ThisProcess | undefined
}

/** An append-only file of JSON lines. */
export interface AppendLog {
  readonly file: string
  /**
   * Appends a record, and gives its place when it is as safe as `sync` says. Concurrent appends share one write.
   * Interrupting it does not take the record back.
   */
  readonly append: (record: unknown) => Effect.Effect<Place, AppendLogError>
  /** All records from the start, as they are read. */
  readonly records: Stream.Stream<Entry, AppendLogError>
  /** Reads one record again. */
  readonly read: (place: Place) => Effect.Effect<unknown, AppendLogError>
  /**
   * Replaces the file by one with only these records, atomically: a crash leaves the one or the other. Appends wait meanwhile.
   * `onRecord` gets the new positions. They may come from `records`.
   */
  readonly compact: <E>(
    records: Stream.Stream<unknown, E>,
    onRecord?: (record: unknown, position: Position) => void
  ) => Effect.Effect<void, AppendLogError | E>
}

const lineFeed = 10
const encoder = new TextEncoder()

const ioError = (file: string) => (cause: PlatformError) =>
  new AppendLogError({ reason: "Io", file, detail: cause.message })

// --- reading ------------------------------------------------------------------------------------------------------

interface Line extends Position {
  readonly bytes: Uint8Array
  /** Whether a line feed ends it. */
  readonly isWhole: boolean
}

/** Cuts a file into lines. Plain state of one reading. */
class Splitter {
  private line = 1
  private offset = 0
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

const linesOf = (fs: FileSystem, file: string): Stream.Stream<Line, PlatformError> =>
  Stream.suspend(() => {
    const splitter = new Splitter()
    return Stream.concat(
      Stream.mapConcat(fs.stream(file), (chunk) => splitter.push(chunk)),
      Stream.suspend(() => Stream.fromIterable(splitter.end()))
    )
  })

const parse = (
  file: string,
  { bytes, line, offset }: { readonly bytes: Uint8Array; readonly line?: number | undefined; readonly offset: number }
): Effect.Effect<unknown, AppendLogError> =>
  Effect.try({
    try: (): unknown => JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)),
    catch: () =>
      new AppendLogError({
        reason: "Corrupt",
        file,
        offset,
        ...defined({ line }),
        detail: "this line is not JSON. Restore the file from a copy, or remove the line if you know what it held."
      })
  })

const entryOf = (file: string, { bytes, length, line, offset }: Line): Effect.Effect<Entry, AppendLogError> =>
  Effect.map(parse(file, { bytes, line, offset }), (record) => ({ record, length, line, offset }))

// --- the file -----------------------------------------------------------------------------------------------------

const headerLine = <E>({ format, header, version }: Options<E>): string =>
  JSON.stringify({ format, version, ...header })

const checkHeader = <E>(
  file: string,
  header: unknown,
  { format, version }: Options<E>
): Effect.Effect<JsonObject, AppendLogError> => {
  const at = { file, line: 1, offset: 0 }
  if (!isJsonObject(header) || header["format"] !== format) {
    const detail = `this is no file of the format ${format}. Give another path.`
    return Effect.fail(new AppendLogError({ reason: "Format", ...at, detail }))
  }
  const found = header["version"]
  if (typeof found !== "number" || found > version) {
    const detail = `it has version ${String(found)}, and this version of effect-runpod knows ${version} and below. Update effect-runpod.`
    return Effect.fail(new AppendLogError({ reason: "Version", ...at, detail }))
  }
  return Effect.succeed(header)
}

/** Reads what is there. Gives the length of what is whole: 0 when there is no whole header. */
const replay = <E>(fs: FileSystem, file: string, options: Options<E>): Effect.Effect<number, AppendLogError | E> =>
  Effect.gen(function* () {
    if (!(yield* Effect.mapError(fs.exists(file), ioError(file)))) return 0
    let size = 0
    yield* Stream.runForEach(Stream.mapError(linesOf(fs, file), ioError(file)), (line) => {
      if (!line.isWhole) {
        // The end of a write that a crash cut off: nobody was told that it is there. But a file whose first line is no
        // beginning of a header is not ours to cut.
        const start = encoder.encode(headerLine(options)).subarray(0, line.length)
        const isOurs = line.line > 1 || start.every((byte, i) => byte === line.bytes[i])
        return isOurs ? Effect.void : Effect.asVoid(checkHeader(file, undefined, options))
      }
      size = line.offset + line.length + 1
      return Effect.flatMap(entryOf(file, line), (entry): Effect.Effect<void, AppendLogError | E> => {
        if (line.line > 1) return options.onRecord?.(entry) ?? Effect.void
        return Effect.flatMap(
          checkHeader(file, entry.record, options),
          (header) => options.onHeader?.(header) ?? Effect.void
        )
      })
    })
    return size
  })

/** Forces a folder's entries to the disk, where that can be done. */
const syncFolder = (fs: FileSystem, file: string): Effect.Effect<void> => {
  const slash = Math.max(file.lastIndexOf("/"), file.lastIndexOf("\\"))
  const folder = slash < 0 ? "." : file.slice(0, Math.max(1, slash))
  return Effect.scoped(Effect.flatMap(fs.open(folder, { flag: "r" }), (folder) => folder.sync)).pipe(Effect.ignore)
}

const lock = <E>(fs: FileSystem, file: string, options: Options<E>) => {
  const self = options.process ?? ThisProcess.find() ?? { host: "unknown", pid: 0, isAlive: () => true }
  const lockFile = `${file}.lock`
  return FileLock.acquire(fs, lockFile, { self, force: options.force === true }).pipe(
    Effect.mapError((error) => {
      if (error._tag !== "Refused") return ioError(lockFile)(error)
      const { holder } = error
      const who =
        holder === undefined
          ? "it does not say who holds it"
          : `process ${holder.pid} on ${holder.host} holds it${holder.host === self.host ? "" : ", a machine that cannot be asked from here"}`
      const detail = `${who}. Wait for it to end; if it has ended, remove this file or pass \`force: true\`.`
      return new AppendLogError({ reason: "Locked", file: lockFile, detail })
    })
  )
}

/** Records that are written together. */
interface Batch {
  readonly records: Array<Uint8Array>
  /** In bytes. */
  length: number
  /** Where they were written. */
  readonly done: Deferred.Deferred<number, AppendLogError>
}

/**
 * Opens a log, or creates it, and holds its lock (the path with `.lock` behind it) until the scope closes.
 *
 * The torn end of a write that a crash cut off is cut away; anything else that is no record is an error with its place.
 */
export const open = <E = never>(
  file: string,
  options: Options<E>
): Effect.Effect<AppendLog, AppendLogError | E, FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem
    const scope = yield* Effect.scope
    const toIo = Effect.mapError(ioError(file))
    const { sync } = options
    yield* lock(fs, file, options)

    // Plain state, touched only synchronously or under `turn`.
    let waiting: Batch | undefined
    let writer: Fiber.RuntimeFiber<void> | undefined
    let failure: AppendLogError | undefined
    let isSyncDue = false
    const turn = yield* Effect.makeSemaphore(1)
    const breakDown = (error: AppendLogError) => Effect.sync(() => (failure = error))

    /** A handle for appending, in a scope of its own since a compaction replaces it. */
    const openHandle = Effect.uninterruptible(
      Effect.gen(function* () {
        const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
        const handle = yield* Scope.extend(toIo(fs.open(file, { flag: "a" })), own)
        return { file: handle, close: Scope.close(own, Exit.void) }
      })
    )

    const header = encoder.encode(`${headerLine(options)}\n`)
    let size = yield* replay(fs, file, options)
    let handle = yield* openHandle
    const { size: found } = yield* toIo(handle.file.stat)
    if (found !== BigInt(size)) yield* toIo(handle.file.truncate(size))
    if (size === 0) {
      yield* toIo(Effect.zipRight(handle.file.writeAll(header), handle.file.sync))
      yield* syncFolder(fs, file)
      size = header.length
    }

    const syncLater = (every: Duration.DurationInput): Effect.Effect<void> => {
      if (isSyncDue) return Effect.void
      isSyncDue = true
      return Effect.interruptible(Effect.sleep(every)).pipe(
        Effect.zipRight(
          turn.withPermits(1)(
            Effect.suspend(() => {
              isSyncDue = false
              return toIo(handle.file.sync)
            })
          )
        ),
        Effect.catchAll(breakDown),
        Effect.forkIn(scope),
        Effect.asVoid
      )
    }

    const write = (bytes: Uint8Array): Effect.Effect<number, AppendLogError> =>
      Effect.gen(function* () {
        const offset = size
        if (failure !== undefined) return yield* Effect.fail(failure)
        yield* toIo(handle.file.writeAll(bytes)).pipe(
          // Part of it may be there, and nothing may follow a torn line.
          Effect.tapError((error) => Effect.catchAll(handle.file.truncate(size), () => breakDown(error)))
        )
        size += bytes.length
        if (sync === "always") {
          // After a failed sync nobody knows what is on the disk.
          yield* Effect.tapError(toIo(handle.file.sync), breakDown)
        } else if (sync !== "never") {
          yield* syncLater(sync.every)
        }
        return offset
      })

    const drain: Effect.Effect<void> = Effect.suspend(() => {
      const batch = waiting
      waiting = undefined
      if (batch === undefined) {
        writer = undefined
        return Effect.void
      }
      return turn
        .withPermits(1)(Effect.suspend(() => write(concatBytes(batch.records))))
        .pipe(
          Effect.exit,
          Effect.flatMap((exit) => Deferred.done(batch.done, exit)),
          Effect.zipRight(drain)
        )
    })

    const append: AppendLog["append"] = (record) =>
      Effect.suspend(() => {
        if (failure !== undefined) return Effect.fail(failure)
        waiting ??= { records: [], length: 0, done: Deferred.unsafeMake(FiberId.none) }
        const bytes = encoder.encode(`${JSON.stringify(record)}\n`)
        const before = waiting.length
        waiting.records.push(bytes)
        waiting.length += bytes.length
        const written = Effect.map(Deferred.await(waiting.done), (offset) => ({
          offset: offset + before,
          length: bytes.length - 1
        }))
        if (writer !== undefined) return written
        return Effect.uninterruptibleMask((restore) =>
          // A turn of the scheduler, so that what comes at the same moment shares the write.
          Effect.flatMap(Effect.forkDaemon(Effect.zipRight(Effect.yieldNow(), drain)), (fiber) => {
            writer = fiber
            return restore(written)
          })
        )
      })

    yield* Effect.addFinalizer(() =>
      Effect.gen(function* () {
        if (writer !== undefined) yield* Fiber.await(writer)
        failure ??= new AppendLogError({ reason: "Io", file, detail: "the log is closed" })
        if (sync !== "never") yield* Effect.ignore(handle.file.sync)
      })
    )

    const records: AppendLog["records"] = linesOf(fs, file).pipe(
      Stream.mapError(ioError(file)),
      Stream.drop(1),
      // A line that is just being written is not there yet.
      Stream.filter((line) => line.isWhole),
      Stream.mapEffect((line) => entryOf(file, line))
    )

    const read: AppendLog["read"] = ({ length, offset }) =>
      Effect.gen(function* () {
        const handle = yield* fs.open(file, { flag: "r" })
        yield* handle.seek(offset, "start")
        const bytes = new Uint8Array(length)
        for (let at = 0; at < length;) {
          const count = Number(yield* handle.read(bytes.subarray(at)))
          if (count === 0) break
          at += count
        }
        return bytes
      }).pipe(
        Effect.scoped,
        toIo,
        Effect.flatMap((bytes) => parse(file, { bytes, offset }))
      )

    const compact: AppendLog["compact"] = (records, onRecord) => {
      const draft = `${file}.compact`
      const rewrite = Effect.scoped(
        Effect.gen(function* () {
          const to = yield* toIo(fs.open(draft, { flag: "w" }))
          yield* toIo(to.writeAll(header))
          let line = 1
          let offset = header.length
          yield* Stream.runForEachChunk(records, (chunk) =>
            Effect.suspend(() => {
              if (chunk.length === 0) return Effect.void
              const lines = Array.from(chunk, (record) => {
                const bytes = encoder.encode(`${JSON.stringify(record)}\n`)
                line++
                onRecord?.(record, { line, offset, length: bytes.length - 1 })
                offset += bytes.length
                return bytes
              })
              return toIo(to.writeAll(concatBytes(lines)))
            })
          )
          yield* toIo(to.sync)
          return offset
        })
      )
      const replace = (written: number) =>
        Effect.gen(function* () {
          yield* toIo(fs.rename(draft, file))
          yield* syncFolder(fs, file)
          const old = handle
          // Without it, appends would go to the file that was replaced.
          handle = yield* Effect.tapError(openHandle, breakDown)
          size = written
          yield* old.close
        })
      return turn.withPermits(1)(
        Effect.gen(function* () {
          if (failure !== undefined) return yield* Effect.fail(failure)
          const written = yield* Effect.onError(rewrite, () => Effect.ignore(fs.remove(draft, { force: true })))
          yield* Effect.uninterruptible(replace(written))
        })
      )
    }

    return { file, append, records, read, compact }
  })

/** Whether a log holds so much more than what is needed of it that rewriting pays. */
export const isWorthCompacting = (records: number, needed: number): boolean => records > 2 * needed + 1_000

/** Which field of a record does not fit; what it held is left out. */
export const wrongFieldOf = (error: ParseResult.ParseError): string =>
  ParseResult.ArrayFormatter.formatErrorSync(error)[0]?.path.join(".") ?? ""
