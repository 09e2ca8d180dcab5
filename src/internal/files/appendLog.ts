import type { PlatformError } from "@effect/platform/Error"
import { FileSystem } from "@effect/platform/FileSystem"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { concatBytes } from "../text/bytes.js"
import type { JsonObject } from "../text/json.js"
import * as Draft from "./draft.js"
import * as FileLock from "./lock.js"
import { AppendLogError, type Entry, ioError, type LogFile, type Place, type Position, syncFolder } from "./logFile.js"
import * as LogReader from "./logReader.js"
import { realPath } from "./realPath.js"
import { decodeUnsealed } from "./recordLine.js"
import * as UserFile from "./userFile.js"

export { wrongFieldOf } from "../text/parseIssue.js"

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
  /** The record in the first line. */
  readonly header: JsonObject
  /** Of what is whole in the file, in bytes. What follows is cut away. */
  readonly size: number
  readonly sync: Sync
  readonly scope: Scope.Scope
}

/** The file, open for appending, in a scope of its own: a compaction replaces it. */
const openHandle = Effect.fnUntraced(function* ({ fs, path, scope }: Setup) {
  const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
  const file = yield* Effect.mapError(Scope.extend(UserFile.open(fs, path, "a"), own), ioError(path))
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
      const header = yield* Draft.encode(setup, setup.header)
      yield* log.toIo(Effect.zipRight(file.writeAll(header), file.sync))
      yield* syncFolder(setup)
      log.size = header.length
    }
    yield* Scope.addFinalizer(setup.scope, log.close)
    return log
  })

  get records(): Stream.Stream<Entry, AppendLogError> {
    return LogReader.readAll(this.setup)
  }

  read(place: Place): Effect.Effect<JsonObject, AppendLogError> {
    return LogReader.readAt(this.setup, place)
  }

  /**
   * Appends a record, and gives its place when it is as safe as `sync` says. Concurrent appends share one write, which the
   * first of them starts. Interrupting it does not take the record back. `Unstorable` says nothing about other records.
   */
  readonly append = (record: object): Effect.Effect<Place, AppendLogError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        if (this.failure !== undefined) return this.failure
        if (!this.isOpen)
          return new AppendLogError({ reason: "Io", file: this.setup.path, detail: "the log is closed" })
        const encoded = Draft.encode(this.setup, record)
        if (Either.isLeft(encoded)) return encoded.left
        const line = encoded.right
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
  compact<A extends object, E>(
    records: Stream.Stream<A, E>,
    onRecord?: (record: A, position: Position) => void
  ): Effect.Effect<void, AppendLogError | E> {
    const { setup } = this
    return Effect.suspend(() => this.failure ?? Effect.void).pipe(
      Effect.zipRight(Draft.write(setup, setup.header, records, onRecord)),
      Effect.flatMap((size) => this.replace(size)),
      Effect.onError(() => Draft.discard(setup)),
      this.mutex.withPermits(1)
    )
  }

  /** Puts the draft, which has this size, in the place of the log's file. */
  private replace(size: number): Effect.Effect<void, AppendLogError> {
    return Effect.gen(this, function* () {
      yield* Draft.promote(this.setup)
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

/** Rewrites a log of version 1, so that its lines have checksums. */
const upgrade = (log: LogFile, header: JsonObject): Effect.Effect<unknown, AppendLogError> => {
  const records = Stream.map(LogReader.readAll(log, decodeUnsealed), ({ record }) => record)
  return Draft.write(log, { ...header, version: LogReader.version }, records).pipe(
    Effect.zipRight(Draft.promote(log)),
    Effect.onError(() => Draft.discard(log))
  )
}

/**
 * Opens or creates a log, and holds its lock (its real path with `.lock` behind it) until the scope closes. The torn end of a
 * write that a crash cut off is cut away; anything else that is no record is an error with its place.
 */
export const open = Effect.fnUntraced(function* <E = never>(
  path: string,
  options: Options<E>
): Effect.fn.Return<AppendLog, AppendLogError | E, FileSystem | Scope.Scope> {
  const fs = yield* FileSystem
  const file: LogFile = { fs, path: yield* realPath(fs, path, options.force) }
  yield* FileLock.hold(file, options)
  let found = yield* LogReader.replay(file, options)
  if (LogReader.isOld(found)) {
    yield* upgrade(file, found.header)
    found = yield* LogReader.replay(file, options)
  }
  const { header, size } = found
  return yield* AppendLog.make({ ...file, header, size, sync: options.sync, scope: yield* Effect.scope })
})

/** Whether a log holds so much more than what is needed of it that rewriting pays. */
export const isWorthCompacting = (records: number, needed: number): boolean => records > 2 * needed + 1_000
