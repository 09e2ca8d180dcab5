import type { PlatformError } from "@effect/platform/Error"
import type { File } from "@effect/platform/FileSystem"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Scope from "effect/Scope"
import { concatBytes } from "../text/bytes.js"
import { AppendLogError, encodeLine, ioError, type LogFile, type Place, syncFolder } from "./logFile.js"

/**
 * When appended records are forced to the disk. The operating system loses nothing when only the process dies: all of these
 * survive `kill -9`. They differ in what a power failure or a crash of the machine takes.
 *
 * - `always`: nothing that was acknowledged. Costs one `fsync` per group of concurrent appends (0.1 to 10 ms).
 * - `{ every }`: at most what was appended in that time. Costs one `fsync` in that time.
 * - `never`: whatever the system had not written by itself, usually the last 30 seconds. Costs nothing.
 */
export type Sync = "always" | "never" | { readonly every: Duration.DurationInput }

/** The file, open for appending, in a scope of its own: a compaction replaces it. */
interface Handle {
  readonly file: File
  readonly close: Effect.Effect<void>
}

/** Records that are written and synced together. */
interface Group {
  readonly lines: Array<Uint8Array>
  /** In bytes. */
  length: number
  /** The offset they were written at. */
  readonly written: Deferred.Deferred<number, AppendLogError>
}

/** The choices of a writer. */
export interface WriterOptions {
  readonly log: LogFile
  /** The first line, with its line feed. */
  readonly header: Uint8Array
  /** Of what is whole in the file, in bytes. What follows is cut away. */
  readonly size: number
  readonly sync: Sync
  readonly scope: Scope.Scope
}

const closed = ({ path }: LogFile) => new AppendLogError({ reason: "Io", file: path, detail: "the log is closed" })

const openHandle = ({ log: { fs, path }, scope }: WriterOptions): Effect.Effect<Handle, AppendLogError> =>
  Effect.gen(function* () {
    const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
    const file = yield* Effect.mapError(Scope.extend(fs.open(path, { flag: "a" }), own), ioError(path))
    return { file, close: Scope.close(own, Exit.void) }
  }).pipe(Effect.uninterruptible)

/** What writes to a log. Its state is touched only synchronously, or by whoever has the permit of `mutex`. */
export class LogWriter {
  /** Takes more records until its write begins. */
  private group: Group | undefined
  /** Once set, nothing is written any more. */
  private failure: AppendLogError | undefined
  private isOpen = true
  private isSyncScheduled = false
  private readonly mutex = Effect.unsafeMakeSemaphore(1)
  private readonly toIo: <A>(effect: Effect.Effect<A, PlatformError>) => Effect.Effect<A, AppendLogError>

  private constructor(
    private readonly options: WriterOptions,
    private handle: Handle,
    private size: number
  ) {
    this.toIo = Effect.mapError(ioError(options.log.path))
  }

  /** Opens a file for appending, and closes it with the scope: what was appended until then is written. */
  static readonly open = (options: WriterOptions): Effect.Effect<LogWriter, AppendLogError> =>
    Effect.gen(function* () {
      const { header, log, scope, size } = options
      const writer = new LogWriter(options, yield* openHandle(options), size)
      const { file } = writer.handle
      const { size: found } = yield* writer.toIo(file.stat)
      if (found !== BigInt(size)) yield* writer.toIo(file.truncate(size))
      if (size === 0) {
        yield* writer.toIo(Effect.zipRight(file.writeAll(header), file.sync))
        yield* syncFolder(log)
        writer.size = header.length
      }
      yield* Scope.addFinalizer(scope, writer.close)
      return writer
    })

  /** Appends a record; see `AppendLog.append`. The first of a group starts its write. */
  append(record: unknown): Effect.Effect<Place, AppendLogError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const problem = this.failure ?? (this.isOpen ? undefined : closed(this.options.log))
        if (problem !== undefined) return Effect.fail(problem)
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
  }

  /** Runs an effect while nothing is written or synced, unless the log has failed. */
  exclusively<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, AppendLogError | E, R> {
    return this.mutex.withPermits(1)(
      Effect.suspend((): Effect.Effect<A, AppendLogError | E, R> =>
        this.failure === undefined ? effect : Effect.fail(this.failure)
      )
    )
  }

  /** Puts another file of this size in the place of the log's, atomically. For use in `exclusively`. */
  replaceWith(path: string, size: number): Effect.Effect<void, AppendLogError> {
    const { log } = this.options
    return Effect.gen(this, function* () {
      yield* this.toIo(log.fs.rename(path, log.path))
      yield* syncFolder(log)
      const old = this.handle
      // Without a new handle, appends would go to the file that was replaced.
      this.handle = yield* Effect.tapError(openHandle(this.options), this.fail)
      this.size = size
      yield* old.close
    }).pipe(Effect.uninterruptible)
  }

  private readonly fail = (error: AppendLogError): Effect.Effect<void> =>
    Effect.sync(() => {
      this.failure = error
    })

  private writeGroup(group: Group): Effect.Effect<void> {
    const write = Effect.suspend(() => {
      // From here on, records form the next group.
      this.group = undefined
      return this.failure === undefined ? this.write(concatBytes(group.lines)) : Effect.fail(this.failure)
    })
    // One turn of the scheduler, so that what is appended at the same moment shares the write.
    return Effect.yieldNow().pipe(
      Effect.zipRight(this.mutex.withPermits(1)(write)),
      Effect.exit,
      Effect.flatMap((exit) => Deferred.done(group.written, exit))
    )
  }

  /** Writes what no other write may come into, and gives its offset. */
  private write(bytes: Uint8Array): Effect.Effect<number, AppendLogError> {
    return Effect.gen(this, function* () {
      const { handle, size: offset } = this
      const { sync } = this.options
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
      Effect.forkIn(this.options.scope),
      Effect.asVoid
    )
  }

  /** Takes no more appends, waits for the write of those that were made, and syncs. */
  private readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.isOpen = false
    const { group } = this
    const written = group === undefined ? Effect.void : Effect.exit(Deferred.await(group.written))
    const sync = Effect.suspend(() => (this.options.sync === "never" ? Effect.void : this.handle.file.sync))
    return Effect.zipRight(written, Effect.ignore(this.mutex.withPermits(1)(sync)))
  })
}
