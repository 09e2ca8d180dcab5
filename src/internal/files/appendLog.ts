import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { utf8 } from "../text/bytes.js"
import { compact } from "./compaction.js"
import * as FileLock from "./lock.js"
import { AppendLogError, type Entry, ioError, type LogFile, type Place, type Position } from "./logFile.js"
import * as LogReader from "./logReader.js"
import { LogWriter, type Sync } from "./logWriter.js"
import * as ThisProcess from "./process.js"

export { isWorthCompacting } from "./compaction.js"
export { AppendLogError, type Entry, type Place, type Position } from "./logFile.js"
export type { Sync } from "./logWriter.js"

/** The choices of a log. */
export interface Options<E = never> extends LogReader.ReadOptions<E> {
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

const unknownProcess: ThisProcess.ThisProcess = { host: "unknown", pid: 0, isAlive: () => true }

const lock = <E>({ fs, path }: LogFile, { force = false, process }: Options<E>) => {
  const self = process ?? ThisProcess.find() ?? unknownProcess
  const file = `${path}.lock`
  return FileLock.acquire({ fs, file, self, force }).pipe(
    Effect.mapError((error) => {
      if (error._tag !== "Refused") return ioError(file)(error)
      const { holder } = error
      const who =
        holder === undefined
          ? "it does not say who holds it"
          : `process ${holder.pid} on ${holder.host} holds it${holder.host === self.host ? "" : ", a machine that cannot be asked from here"}`
      const detail = `${who}. Wait for it to end; if it has ended, remove this file or pass \`force: true\`.`
      return new AppendLogError({ reason: "Locked", file, detail })
    })
  )
}

/**
 * Opens a log, or creates it, and holds its lock (the path with `.lock` behind it) until the scope closes.
 *
 * The torn end of a write that a crash cut off is cut away; anything else that is no record is an error with its place.
 */
export const open = <E = never>(
  path: string,
  options: Options<E>
): Effect.Effect<AppendLog, AppendLogError | E, FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const log: LogFile = { fs: yield* FileSystem, path }
    const header = utf8(`${LogReader.headerLine(options)}\n`)
    yield* lock(log, options)
    const size = yield* LogReader.replay(log, options)
    const writer = yield* LogWriter.open({ log, header, size, sync: options.sync, scope: yield* Effect.scope })
    return {
      file: path,
      append: (record) => writer.append(record),
      records: LogReader.readAll(log),
      read: (place) => LogReader.readAt(log, place),
      compact: (records, onRecord) => compact({ log, writer, header, records, onRecord })
    }
  })

/** Which field of a record does not fit; what it held is left out. */
export const wrongFieldOf = (error: ParseResult.ParseError): string =>
  ParseResult.ArrayFormatter.formatErrorSync(error)[0]?.path.join(".") ?? ""
