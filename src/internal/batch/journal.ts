import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { BatchJournalError } from "../../errors/BatchError.js"
import * as JournalEntry from "../../schemas/JournalEntry.js"
import type { BatchJournal, FileOptions, Item, Snapshot } from "../../services/BatchJournal.js"
import * as AppendLog from "../files/appendLog.js"
import * as LogReader from "../files/logReader.js"
import { decodeUnsealed } from "../files/recordLine.js"
import { fromEither } from "../effect/either.js"
import { defined, textOf } from "../text/json.js"

/** The endpoint a journal belongs to, and whether a run has it. Plain state of one journal, touched only synchronously. */
class Owner {
  endpointId: string | undefined
  private isTaken = false

  constructor(protected readonly file?: string) {}

  /** Takes the journal for a run, until the scope closes; `bind` writes the endpoint of a new one down. */
  begin(
    endpointId: string,
    bind: Effect.Effect<void, BatchJournalError>
  ): Effect.Effect<void, BatchJournalError, Scope.Scope> {
    const giveBack = Effect.sync(() => (this.isTaken = false))
    const take = Effect.suspend(() => {
      const refusal = this.refusalOf(endpointId)
      if (refusal !== undefined) return Effect.fail(refusal)
      this.isTaken = true
      if (this.endpointId !== undefined) return Effect.void
      const bound = Effect.map(bind, () => void (this.endpointId = endpointId))
      return Effect.onError(bound, () => giveBack)
    })
    return Effect.acquireRelease(take, () => giveBack)
  }

  private refusalOf(endpointId: string): BatchJournalError | undefined {
    const file = defined({ file: this.file })
    if (this.isTaken) {
      const detail = "another run of this process uses it. Wait for its end, or give each batch a journal of its own."
      return new BatchJournalError({ reason: "Locked", ...file, detail })
    }
    if (this.endpointId === undefined || this.endpointId === endpointId) return undefined
    const detail = `it belongs to a batch on endpoint ${this.endpointId}, and this one is on ${endpointId}. Give another journal.`
    return new BatchJournalError({ reason: "WrongEndpoint", ...file, detail })
  }
}

export const memory = (): BatchJournal => {
  const owner = new Owner()
  const entries = new Map<string, JournalEntry.Entry>()
  return {
    begin: (endpointId) => owner.begin(endpointId, Effect.void),
    find: (key) =>
      Effect.sync(() =>
        Option.map(Option.fromNullable(entries.get(key)), (entry) =>
          entry._tag === "Settled" ? { _tag: "Settled", key, hash: entry.hash } : entry
        )
      ),
    outcome: (key) =>
      Effect.sync(() => {
        const entry = entries.get(key)
        return entry?._tag === "Settled" ? Option.some(entry) : Option.none()
      }),
    submitted: Effect.sync(() => Array.from(entries.values()).filter((entry) => entry._tag === "Submitted")),
    work: Effect.sync(() => entries.values()),
    append: (entry) => Effect.sync(() => void entries.set(entry.key, entry))
  }
}

// --- the journal in a file ----------------------------------------------------------------------------------------

/** What is kept in memory of an item: of a settled one, what its jobs took, and where in the file its outcome stands. */
type Kept =
  | Exclude<JournalEntry.State, { _tag: "Settled" }>
  | (Pick<JournalEntry.Settled, "_tag" | "hash"> & JournalEntry.Work & AppendLog.Place)

const decode = Schema.decodeUnknownEither(JournalEntry.Entry)

const format = "effect-runpod/batch"

const fromLog = ({ detail, file, line, offset, problem, reason }: AppendLog.AppendLogError) =>
  new BatchJournalError({ reason, detail, file, ...defined({ line, byte: offset, problem }) })

const unstorable = (file: string, key: string, why: string) => {
  const detail = `the entry cannot be written, since ${why}. Let the worker return less than 512 MiB, and \`parseJson\` plain data.`
  return new BatchJournalError({ reason: "Unstorable", file, key, detail })
}

const entryOf = (
  { line, offset, record }: AppendLog.Entry,
  file: string | undefined
): Either.Either<JournalEntry.Entry, BatchJournalError> =>
  Either.mapLeft(decode(record), (error) => {
    const detail = `this is no entry of a journal (${AppendLog.wrongFieldOf(error)}). Restore the file from a copy, or remove the line if you know what it held.`
    return new BatchJournalError({ reason: "Corrupt", ...defined({ file }), line, byte: offset, detail })
  })

/** What a journal's file holds: its endpoint, and the newest entry of each item. */
class Contents extends Owner {
  readonly items = new Map<string, Kept>()
  private records = 0

  keep(entry: JournalEntry.Entry, { length, offset }: AppendLog.Place): void {
    if (entry._tag !== "Settled") return void this.items.set(entry.key, entry)
    const { _tag, earlierExecutionTime, executionTime, hash, key, workerId } = entry
    this.items.set(key, { _tag, hash, offset, length, earlierExecutionTime, executionTime, workerId })
  }

  /** Takes up a record of the file that is being opened. */
  readonly onRecord = ({ length, line, offset, record }: AppendLog.Entry): Effect.Effect<void, BatchJournalError> => {
    this.records++
    const endpointId = textOf(record["endpointId"])
    if (endpointId !== undefined) {
      this.endpointId = endpointId
      return Effect.void
    }
    const entry = entryOf({ length, line, offset, record }, this.file)
    return Effect.map(fromEither(entry), (entry) => this.keep(entry, { length, offset }))
  }

  private isNewest({ offset, record }: AppendLog.Entry): boolean {
    const read = decode(record)
    if (Either.isLeft(read)) return true
    const { _tag, key, at } = read.right
    const kept = this.items.get(key)
    if (kept === undefined || kept._tag !== _tag) return false
    return kept._tag === "Settled" ? kept.offset === offset : kept._tag !== "Released" && kept.at === at
  }

  /** Rewrites the file without its history when there is much of that. */
  compact(log: AppendLog.AppendLog): Effect.Effect<void, BatchJournalError> {
    const { items } = this
    if (!AppendLog.isWorthCompacting(this.records, items.size)) return Effect.void
    const places = new Map<string, AppendLog.Place>()
    const newest = log.records.pipe(
      Stream.filter((entry) => this.isNewest(entry)),
      Stream.map(({ record }) => record)
    )
    const onMoved = (record: object, place: AppendLog.Place) => {
      const read = decode(record)
      if (Either.isRight(read) && read.right._tag === "Settled") places.set(read.right.key, place)
    }
    return Effect.map(Effect.mapError(log.compact(newest, onMoved), fromLog), () => {
      for (const [key, kept] of items) {
        const place = places.get(key)
        if (kept._tag === "Released") items.delete(key)
        else if (kept._tag === "Settled" && place !== undefined) items.set(key, { ...kept, ...place })
      }
    })
  }

  /** The outcome of a settled item, from the file. */
  outcome(
    log: AppendLog.AppendLog,
    key: string
  ): Effect.Effect<Option.Option<JournalEntry.Settled>, BatchJournalError> {
    const kept = this.items.get(key)
    if (kept?._tag !== "Settled") return Effect.succeedNone
    return Effect.flatMap(Effect.mapError(log.read(kept), fromLog), (record) => {
      const entry = Either.getOrUndefined(decode(record))
      if (entry?._tag === "Settled") return Effect.succeedSome(entry)
      const detail = "an outcome is no longer where it was: the file was changed by somebody else. Open it again."
      return Effect.fail(new BatchJournalError({ reason: "Corrupt", file: this.file, key, byte: kept.offset, detail }))
    })
  }
}

export const file = (
  path: string,
  { force = false, id, sync = "always" }: FileOptions
): Effect.Effect<BatchJournal, BatchJournalError, FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const contents = new Contents(path)
    const { items } = contents

    const checkId = (found: unknown): Effect.Effect<void, BatchJournalError> => {
      if (id === undefined || found === id) return Effect.void
      const whose = typeof found === "string" ? `the batch "${found}"` : "a batch without an id"
      const detail = `it belongs to ${whose}, and this one is "${id}". Give another path.`
      return Effect.fail(new BatchJournalError({ reason: "WrongId", file: path, detail }))
    }

    const log = yield* AppendLog.open(path, {
      format,
      header: defined({ id }),
      onHeader: (header) => checkId(header["id"]),
      onRecord: contents.onRecord,
      sync,
      force
    }).pipe(Effect.catchTag("AppendLogError", (error) => fromLog(error)))
    yield* contents.compact(log)

    return {
      begin: (endpointId) =>
        contents.begin(endpointId, Effect.asVoid(Effect.mapError(log.append({ endpointId }), fromLog))),
      find: (key) =>
        Effect.sync(() =>
          Option.map(Option.fromNullable(items.get(key)), (kept) =>
            kept._tag === "Settled" ? { _tag: "Settled", key, hash: kept.hash } : kept
          )
        ),
      outcome: (key) => Effect.suspend(() => contents.outcome(log, key)),
      submitted: Effect.sync(() => Array.from(items.values()).filter((kept) => kept._tag === "Submitted")),
      work: Effect.sync(() => items.values()),
      append: (entry) => {
        // What could not be read again would make the whole file unreadable.
        const read = decode(entry)
        if (Either.isRight(read)) {
          return Effect.mapBoth(log.append(read.right), {
            onFailure: (error) =>
              error.reason === "Unstorable" ? unstorable(path, entry.key, error.detail) : fromLog(error),
            onSuccess: (place) => contents.keep(read.right, place)
          })
        }
        const field = AppendLog.wrongFieldOf(read.left)
        return unstorable(path, entry.key, `it is no entry of a journal (${field})`)
      }
    }
  })

const withoutOutput = (entry: JournalEntry.Entry): Item => {
  if (entry._tag !== "Settled") return entry
  const { output: _, ...item } = entry
  return item
}

/** How the batch of a file stands, without its lock: the batch may go on meanwhile. */
export const read = Effect.fnUntraced(function* (
  path: string
): Effect.fn.Return<Snapshot, BatchJournalError, FileSystem> {
  const log = { fs: yield* FileSystem, path }
  const items = new Map<string, Item>()
  let endpointId: string | undefined
  const onRecord = (entry: AppendLog.Entry): Effect.Effect<void, BatchJournalError> => {
    const endpoint = textOf(entry.record["endpointId"])
    if (endpoint !== undefined) return Effect.sync(() => void (endpointId = endpoint))
    return Effect.map(fromEither(entryOf(entry, path)), (entry) => void items.set(entry.key, withoutOutput(entry)))
  }
  const contents = yield* Effect.catchTag(LogReader.replay(log, { format, onRecord }), "AppendLogError", (error) =>
    fromLog(error)
  )
  if (contents.size === 0) {
    const detail = "there is no journal in it. Give the path of one that a batch has written."
    return yield* new BatchJournalError({ reason: "Empty", file: path, detail })
  }
  if (LogReader.isOld(contents)) {
    const records = Stream.mapError(LogReader.readAll(log, decodeUnsealed), fromLog)
    yield* Stream.runForEach(records, onRecord)
  }
  return { items: Array.from(items.values()), ...defined({ endpointId, id: textOf(contents.header["id"]) }) }
})
