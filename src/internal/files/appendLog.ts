import type { PlatformError } from "@effect/platform/Error"
import { FileSystem } from "@effect/platform/FileSystem"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as ParseResult from "effect/ParseResult"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { concatBytes, utf8 } from "../text/bytes.js"
import * as FileLock from "./lock.js"
import { type AppendLogError, type Entry, ioError, type LogFile, type Place, type Position } from "./logFile.js"
import * as LogReader from "./logReader.js"

export type { AppendLogError, Entry, Place, Position } from "./logFile.js"

/** When appended records are forced to the disk: see `BatchJournal.Sync`, which tells what each costs and can lose. */
export type Sync = "always" | "never" | { readonly every: Duration.DurationInput }

export interface Options<E = never> extends LogReader.ReadOptions<E>, FileLock.Choices {
  readonly sync: Sync
}

/** Records that are written and synced together. */
interface Group {
  readonly lines: Array<Uint8Array>
  /** In bytes. */
  length: number
  /** The offset they were written at. */
  readonly written: Deferred.Deferred<number, AppendLogError>
}

interface Setup extends LogFile {
  /** The first line, with its line feed. */
  readonly header: Uint8Array
  /** Of what is whole in the file, in bytes. What follows is cut away. */
  readonly size: number
  readonly sync: Sync
  readonly scope: Scope.Scope
}

const encodeLine = (record: unknown): Uint8Array => utf8(`${JSON.stringify(record)}\n`)

/** Forces the names in a file's folder to the disk, where that can be done. */
const syncFolder = ({ fs, path }: LogFile): Effect.Effect<void> => {
  const slash = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"))
  const folder = slash < 0 ? "." : path.slice(0, Math.max(1, slash))
  return Effect.scoped(Effect.flatMap(fs.open(folder, { flag: "r" }), (folder) => folder.sync)).pipe(Effect.ignore)
}

/** The file, open for appending, in a scope of its own: a compaction replaces it. */
const openHandle = Effect.fnUntraced(function* ({ fs, path, scope }: Setup) {
  const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
  const file = yield* Effect.mapError(Scope.extend(fs.open(path, { flag: "a" }), own), ioError(path))
  return { file, close: Scope.close(own, Exit.void) }
}, Effect.uninterruptible)

/** An append-only file of JSON lines. Its state is touched only synchronously, or by whoever has the permit of `mutex`. */
export class AppendLog {
  /** Takes more records until its write begins. */
  private group: Group | undefined
  /** Once set, nothing is written any more. */
  private failure: AppendLogError | undefined
  private isOpen = true
  private isSyncScheduled = false
  private readonly mutex = Effect.unsafeMakeSemaphore(1)
  private readonly toIo: <A, R>(effect: Effect.Effect<A, PlatformError, R>) => Effect.Effect<A, AppendLogError, R>
  private size: number

  private constructor(
    private readonly setup: Setup,
    private handle: Effect.Effect.Success<ReturnType<typeof openHandle>>
  ) {
    this.toIo = Effect.mapError(ioError(setup.path))
    this.size = setup.size
  }

  /** Opens a file for appending, and closes it with the scope: what was appended until then is written. */
  static readonly make = Effect.fnUntraced(function* (setup: Setup): Effect.fn.Return<AppendLog, AppendLogError> {
    const log = new AppendLog(setup, yield* openHandle(setup))
    const { file } = log.handle
    const { size: found } = yield* log.toIo(file.stat)
    if (found !== BigInt(log.size)) yield* log.toIo(file.truncate(log.size))
    if (log.size === 0) {
      yield* log.toIo(Effect.zipRight(file.writeAll(setup.header), file.sync))
      yield* syncFolder(setup)
      log.size = setup.header.length
    }
    yield* Scope.addFinalizer(setup.scope, log.close)
    return log
  })

  get records(): Stream.Stream<Entry, AppendLogError> {
    return LogReader.readAll(this.setup)
  }

  read(place: Place): Effect.Effect<unknown, AppendLogError> {
    return LogReader.readAt(this.setup, place)
  }

  /**
   * Appends a record, and gives its place when it is as safe as `sync` says. Concurrent appends share one write, which the
   * first of them starts. Interrupting it does not take the record back.
   */
  readonly append = (record: unknown): Effect.Effect<Place, AppendLogError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        if (this.failure !== undefined) return this.failure
        if (!this.isOpen) return ioError(this.setup.path)({ message: "the log is closed" })
        const line = encodeLine(record)
        const isFirst = this.group === undefined
        const group = (this.group ??= { lines: [], length: 0, written: Deferred.unsafeMake(FiberId.none) })
        const before = group.length
        group.lines.push(line)
        group.length += line.length
        const place = Effect.map(Deferred.await(group.written), (offset) => ({
          offset: offset + before,
          length: line.length - 1
        }))
        return isFirst ? Effect.zipRight(Effect.forkDaemon(this.writeGroup(group)), restore(place)) : restore(place)
      })
    )

  /**
   * Replaces the file by one with only these records, atomically: a crash leaves the one or the other. Appends wait meanwhile.
   * `onRecord` gets the new positions. They may come from `records`.
   */
  compact<E>(
    records: Stream.Stream<unknown, E>,
    onRecord?: (record: unknown, position: Position) => void
  ): Effect.Effect<void, AppendLogError | E> {
    const { fs, path } = this.setup
    const draft = `${path}.compact`
    return Effect.suspend(() => this.failure ?? Effect.void).pipe(
      Effect.zipRight(this.writeDraft(draft, records, onRecord)),
      Effect.flatMap((size) => this.replaceWith(draft, size)),
      Effect.onError(() => Effect.ignore(fs.remove(draft, { force: true }))),
      this.mutex.withPermits(1)
    )
  }

  private writeDraft<E>(
    draft: string,
    records: Stream.Stream<unknown, E>,
    onRecord: ((record: unknown, position: Position) => void) | undefined
  ): Effect.Effect<number, AppendLogError | E> {
    const { fs, header } = this.setup
    return Effect.gen(this, function* () {
      const file = yield* this.toIo(fs.open(draft, { flag: "w" }))
      yield* this.toIo(file.writeAll(header))
      let line = 1
      let offset = header.length
      yield* Stream.runForEachChunk(records, (chunk) => {
        const lines = Array.from(chunk, (record) => {
          const bytes = encodeLine(record)
          line++
          onRecord?.(record, { line, offset, length: bytes.length - 1 })
          offset += bytes.length
          return bytes
        })
        return lines.length === 0 ? Effect.void : this.toIo(file.writeAll(concatBytes(lines)))
      })
      yield* this.toIo(file.sync)
      return offset
    }).pipe(Effect.scoped)
  }

  /** Puts another file of this size in the place of the log's, atomically. */
  private replaceWith(path: string, size: number): Effect.Effect<void, AppendLogError> {
    return Effect.gen(this, function* () {
      yield* this.toIo(this.setup.fs.rename(path, this.setup.path))
      yield* syncFolder(this.setup)
      const old = this.handle
      // Without a new handle, appends would go to the file that was replaced.
      this.handle = yield* Effect.tapError(openHandle(this.setup), this.fail)
      this.size = size
      yield* old.close
    }).pipe(Effect.uninterruptible)
  }

  private readonly fail = (error: AppendLogError) => Effect.sync(() => void (this.failure = error))

  private writeGroup(group: Group): Effect.Effect<void> {
    const write = Effect.suspend(() => {
      // From here on, records form the next group.
      this.group = undefined
      return this.failure ?? this.write(concatBytes(group.lines))
    })
    // One turn of the scheduler, so that what is appended at the same moment shares the write.
    return Effect.yieldNow().pipe(
      Effect.zipRight(this.mutex.withPermits(1)(write)),
      Effect.intoDeferred(group.written),
      Effect.asVoid
    )
  }

  /** Writes what no other write may come into, and gives its offset. */
  private write(bytes: Uint8Array): Effect.Effect<number, AppendLogError> {
    return Effect.gen(this, function* () {
      const { handle, size: offset } = this
      const { sync } = this.setup
      yield* Effect.tapError(this.toIo(handle.file.writeAll(bytes)), (error) =>
        // A part of it may be in the file. Where that cannot be cut away, nothing may follow it.
        Effect.catchAll(handle.file.truncate(offset), () => this.fail(error))
      )
      this.size += bytes.length
      // After a failed sync nobody knows what is on the disk.
      if (sync === "always") yield* Effect.tapError(this.toIo(handle.file.sync), this.fail)
      else if (sync !== "never") yield* this.scheduleSync(sync.every)
      return offset
    })
  }

  private scheduleSync(every: Duration.DurationInput): Effect.Effect<void> {
    if (this.isSyncScheduled) return Effect.void
    this.isSyncScheduled = true
    const sync = Effect.suspend(() => {
      this.isSyncScheduled = false
      return this.toIo(this.handle.file.sync)
    })
    return Effect.interruptible(Effect.sleep(every)).pipe(
      Effect.zipRight(this.mutex.withPermits(1)(sync)),
      Effect.catchAll(this.fail),
      Effect.forkIn(this.setup.scope),
      Effect.asVoid
    )
  }

  /** Takes no more appends, waits for the write of those that were made, and syncs. */
  private readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.isOpen = false
    const { group } = this
    const written = group === undefined ? Effect.void : Effect.exit(Deferred.await(group.written))
    const sync = Effect.suspend(() => (this.setup.sync === "never" ? Effect.void : this.handle.file.sync))
    return Effect.zipRight(written, Effect.ignore(this.mutex.withPermits(1)(sync)))
  })
}

/**
 * Opens or creates a log, and holds its lock (the path with `.lock` behind it) until the scope closes. The torn end of a
 * write that a crash cut off is cut away; anything else that is no record is an error with its place.
 */
export const open = Effect.fnUntraced(function* <E = never>(
  path: string,
  options: Options<E>
): Effect.fn.Return<AppendLog, AppendLogError | E, FileSystem | Scope.Scope> {
  const file: LogFile = { fs: yield* FileSystem, path }
  const header = utf8(`${LogReader.headerLine(options)}\n`)
  yield* FileLock.hold(file, options)
  const size = yield* LogReader.replay(file, options)
  return yield* AppendLog.make({ ...file, header, size, sync: options.sync, scope: yield* Effect.scope })
})

/** Whether a log holds so much more than what is needed of it that rewriting pays. */
export const isWorthCompacting = (records: number, needed: number): boolean => records > 2 * needed + 1_000

/** Which field of a record does not fit; what it held is left out. */
export const wrongFieldOf = (error: ParseResult.ParseError): string =>
  ParseResult.ArrayFormatter.formatErrorSync(error)[0]?.path.join(".") ?? ""
