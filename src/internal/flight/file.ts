import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { FlightError } from "../../errors/FlightError.js"
import type { Service } from "../../layers/FlightRecorder.js"
import * as FlightRecord from "../../schemas/FlightRecord.js"
import type { Options, Recording } from "../../services/Flight.js"
import * as AppendLog from "../files/appendLog.js"
import * as LogReader from "../files/logReader.js"
import { monotonicMillis, wallMillis } from "../pace/monotonic.js"
import { defined } from "../text/json.js"
import { Recorder } from "./recorder.js"

const format = "effect-runpod/flight"

/** How many records may wait to be written. */
const mostWaiting = 10_000

const fromLog = ({ detail, file, line, problem, reason }: AppendLog.AppendLogError): FlightError =>
  new FlightError({ reason: reason === "Unstorable" ? "Io" : reason, detail, file, ...defined({ line, problem }) })

/** Writes records behind those who make them. Plain state, touched only synchronously. */
class Writer {
  private waiting: Array<FlightRecord.FlightRecord> = []
  private lost = 0
  private isOpen = true
  private readonly work = Effect.unsafeMakeLatch()

  constructor(private readonly log: AppendLog.AppendLog) {}

  readonly write = (record: FlightRecord.FlightRecord): void => {
    if (!this.isOpen) return
    if (this.waiting.length < mostWaiting) this.waiting.push(record)
    else this.lost++
    this.work.unsafeOpen()
  }

  readonly lose = (): void => {
    this.lost++
  }

  /** Writes until it is closed and nothing waits, or until the first error. */
  readonly run: Effect.Effect<void> = Effect.gen(this, function* () {
    while (this.isOpen || this.waiting.length > 0) {
      yield* this.work.await
      this.work.unsafeClose()
      yield* this.writeWaiting()
    }
  }).pipe(
    Effect.catchAll((error) => {
      this.isOpen = false
      this.waiting = []
      return Effect.logWarning(`The recording of the flight has stopped: ${error.message}`)
    })
  )

  close(): void {
    this.isOpen = false
    this.work.unsafeOpen()
  }

  private writeWaiting(): Effect.Effect<void, AppendLog.AppendLogError> {
    const records = this.waiting
    this.waiting = []
    if (this.lost > 0) records.push({ _tag: "Lost", records: this.lost })
    this.lost = 0
    return Effect.forEach(records, (record) => this.append(record), { concurrency: "unbounded", discard: true })
  }

  /** A record that cannot be written says nothing about the others. */
  private append(record: FlightRecord.FlightRecord): Effect.Effect<void, AppendLog.AppendLogError> {
    return Effect.catchIf(
      Effect.asVoid(this.log.append(record)),
      ({ reason }) => reason === "Unstorable",
      () => Effect.sync(this.lose)
    )
  }
}

/** What goes wrong in a recorder is a record less. */
const guarded = (recorder: Service, lose: () => void): Service => {
  const attempt = <A>(run: () => A, otherwise: A): A => {
    try {
      return run()
    } catch {
      lose()
      return otherwise
    }
  }
  return {
    onAttempt: (begun) => {
      const onEnd = attempt(() => recorder.onAttempt(begun), undefined)
      return (end, endedAt) => attempt(() => onEnd?.(end, endedAt), undefined)
    },
    onDelivery: (delivery) => attempt(() => recorder.onDelivery(delivery), undefined)
  }
}

const recorderOf = Effect.fnUntraced(function* (
  { keys = [], mode = "shape" }: Options,
  { lose, write }: { readonly write: (record: FlightRecord.FlightRecord) => void; readonly lose: () => void }
) {
  const clock = yield* Effect.clock
  const now = () => monotonicMillis(clock)
  return guarded(new Recorder({ mode, keys, write, now, wallMillis: () => wallMillis(clock) }), lose)
})

/** Records into a file until the scope closes, which waits until all is written. */
export const open = Effect.fnUntraced(function* (
  file: string,
  options: Options
): Effect.fn.Return<Service, FlightError, FileSystem | Scope.Scope> {
  const { force = false, sync = "never" } = options
  const log = yield* Effect.mapError(AppendLog.open(file, { format, sync, force }), fromLog)
  const writer = new Writer(log)
  yield* Effect.acquireRelease(Effect.forkDaemon(writer.run), (fiber) =>
    Effect.suspend(() => {
      writer.close()
      return Fiber.await(fiber)
    })
  )
  return yield* recorderOf(options, writer)
})

/** The recordings that records make, each from its start. */
const recordingsOf = (records: ReadonlyArray<FlightRecord.FlightRecord>): ReadonlyArray<Recording> => {
  const recordings: Array<{
    mode: Recording["mode"]
    attempts: Array<FlightRecord.Attempt>
    deliveries: Array<FlightRecord.Delivery>
    lost: number
  }> = []
  for (const record of records) {
    const last = recordings.at(-1)
    if (record._tag === "Start") recordings.push({ mode: record.mode, attempts: [], deliveries: [], lost: 0 })
    else if (record._tag === "Attempt") last?.attempts.push(record)
    else if (record._tag === "Delivery") last?.deliveries.push(record)
    else if (last !== undefined) last.lost += record.records
  }
  for (const { attempts } of recordings) attempts.sort((a, b) => a.order - b.order)
  return recordings
}

/** A recorder that keeps its records in memory, and what they make up so far. */
export const inMemory = (options: Options): Effect.Effect<{ recorder: Service; recording: Effect.Effect<Recording> }> =>
  Effect.gen(function* () {
    const records: Array<FlightRecord.FlightRecord> = []
    const write = (record: FlightRecord.FlightRecord) => void records.push(record)
    const recorder = yield* recorderOf(options, { write, lose: () => write({ _tag: "Lost", records: 1 }) })
    const recording = Effect.sync(() => {
      const { mode = "shape" } = options
      return recordingsOf(records).at(-1) ?? { mode, attempts: [], deliveries: [], lost: 0 }
    })
    return { recorder, recording }
  })

const decode = Schema.decodeUnknownEither(FlightRecord.FlightRecord)

/** All recordings of a file, without its lock: it may be written meanwhile, and the torn end of a crash is left out. */
export const readAll = Effect.fnUntraced(function* (
  file: string
): Effect.fn.Return<ReadonlyArray<Recording>, FlightError, FileSystem> {
  const fs = yield* FileSystem
  const records: Array<FlightRecord.FlightRecord> = []
  const onRecord = ({ line, record }: AppendLog.Entry): Effect.Effect<void, FlightError> =>
    Either.match(decode(record), {
      onRight: (known) => Effect.sync(() => void records.push(known)),
      onLeft: (error) => {
        const detail = `this is no record of a flight (${AppendLog.wrongFieldOf(error)}). Restore the file from a copy, or remove the line.`
        return new FlightError({ reason: "Corrupt", file, line, detail })
      }
    })
  yield* LogReader.replay({ fs, path: file }, { format, onRecord }).pipe(
    Effect.catchTag("AppendLogError", (error) => fromLog(error))
  )
  return recordingsOf(records)
})

export const read = (file: string): Effect.Effect<Recording, FlightError, FileSystem> =>
  Effect.flatMap(readAll(file), (recordings) => {
    const last = recordings.at(-1)
    if (last !== undefined) return Effect.succeed(last)
    const detail = "there is no recording in it. Provide `Flight.layer` with this path to a program, and run that."
    return new FlightError({ reason: "Empty", file, detail })
  })
