import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { BatchJournalError } from "../../errors/BatchError.js"
import * as JournalEntry from "../../schemas/JournalEntry.js"
import type { BatchJournal, FileOptions } from "../../services/BatchJournal.js"
import * as AppendLog from "../files/appendLog.js"
import { defined, isJsonObject, textOf } from "../text/json.js"

/** The endpoint a journal belongs to, and that at most one run has it. Plain state of one journal. */
class Owner {
  endpointId: string | undefined
  private isTaken = false

  constructor(private readonly file?: string) {}

  /** Takes the journal for a run; `bind` writes the endpoint of a new one down. */
  begin(
    endpointId: string,
    bind: Effect.Effect<void, BatchJournalError>
  ): Effect.Effect<void, BatchJournalError, Scope.Scope> {
    const take = Effect.suspend(() => {
      const where = defined({ file: this.file })
      if (this.isTaken) {
        const detail = "another run of this process uses it. Wait for its end, or give each batch a journal of its own."
        return Effect.fail(new BatchJournalError({ reason: "Locked", ...where, detail }))
      }
      if (this.endpointId !== undefined && this.endpointId !== endpointId) {
        const detail = `it belongs to a batch on endpoint ${this.endpointId}, and this one is on ${endpointId}. Give another journal.`
        return Effect.fail(new BatchJournalError({ reason: "WrongEndpoint", ...where, detail }))
      }
      this.isTaken = true
      return this.endpointId === undefined
        ? Effect.onError(
            Effect.tap(bind, () => Effect.sync(() => (this.endpointId = endpointId))),
            () => this.give
          )
        : Effect.void
    })
    return Effect.asVoid(Effect.acquireRelease(take, () => this.give))
  }

  private readonly give = Effect.sync(() => {
    this.isTaken = false
  })
}

const stateOf = (entry: JournalEntry.Entry): JournalEntry.State =>
  entry._tag === "Settled" ? { _tag: "Settled", key: entry.key, hash: entry.hash } : entry

export const memory = (): BatchJournal => {
  const owner = new Owner()
  const entries = new Map<string, JournalEntry.Entry>()
  return {
    begin: (endpointId) => owner.begin(endpointId, Effect.void),
    find: (key) => Effect.sync(() => Option.map(Option.fromNullable(entries.get(key)), stateOf)),
    outcome: (key) =>
      Effect.sync(() => {
        const entry = entries.get(key)
        return entry?._tag === "Settled" ? Option.some(entry) : Option.none()
      }),
    submitted: Effect.sync(() => Array.from(entries.values()).filter((entry) => entry._tag === "Submitted")),
    append: (entry) => Effect.sync(() => void entries.set(entry.key, entry))
  }
}

// --- the file -----------------------------------------------------------------------------------------------------

/** What is kept in memory of an item: of a settled one, where its outcome stands. */
type Kept =
  Exclude<JournalEntry.State, { _tag: "Settled" }> | (Pick<JournalEntry.Settled, "_tag" | "hash"> & AppendLog.Place)

const decode = Schema.decodeUnknownEither(JournalEntry.Entry)

const fromLog = ({ detail, file, line, offset, reason }: AppendLog.AppendLogError) =>
  new BatchJournalError({ reason, detail, file, ...defined({ line, byte: offset }) })

export const file = (
  path: string,
  { force = false, id, sync = "always" }: FileOptions
): Effect.Effect<BatchJournal, BatchJournalError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const owner = new Owner(path)
    const items = new Map<string, Kept>()
    let records = 0

    const keep = (entry: JournalEntry.Entry, { length, offset }: AppendLog.Place) => {
      if (entry._tag === "Settled") items.set(entry.key, { _tag: "Settled", hash: entry.hash, offset, length })
      else items.set(entry.key, entry)
    }

    const restore = ({ length, line, offset, record }: AppendLog.Entry): Effect.Effect<void, BatchJournalError> => {
      records++
      const endpointId = isJsonObject(record) ? textOf(record["endpointId"]) : undefined
      if (endpointId !== undefined) {
        owner.endpointId = endpointId
        return Effect.void
      }
      return Either.match(decode(record), {
        onRight: (entry) => Effect.sync(() => keep(entry, { length, offset })),
        onLeft: (error) => {
          const detail = `this is no entry of a journal (${AppendLog.wrongFieldOf(error)}). Restore the file from a copy, or remove the line if you know what it held.`
          return Effect.fail(new BatchJournalError({ reason: "Corrupt", file: path, line, byte: offset, detail }))
        }
      })
    }

    const checkId = (found: unknown): Effect.Effect<void, BatchJournalError> => {
      if (id === undefined || found === id) return Effect.void
      const whose = typeof found === "string" ? `the batch "${found}"` : "a batch without an id"
      const detail = `it belongs to ${whose}, and this one is "${id}". Give another path.`
      return Effect.fail(new BatchJournalError({ reason: "WrongId", file: path, detail }))
    }

    const log = yield* AppendLog.open(path, {
      format: "effect-runpod/batch",
      version: 1,
      header: defined({ id }),
      onHeader: (header) => checkId(header["id"]),
      onRecord: restore,
      sync,
      force
    }).pipe(Effect.catchTag("AppendLogError", (error) => Effect.fail(fromLog(error))))

    const isNewest = (entry: AppendLog.Entry): boolean => {
      const read = decode(entry.record)
      if (Either.isLeft(read)) return true
      const { _tag, key, at } = read.right
      const kept = items.get(key)
      if (kept === undefined || kept._tag !== _tag) return false
      return kept._tag === "Settled" ? kept.offset === entry.offset : kept._tag !== "Released" && kept.at === at
    }

    if (AppendLog.isWorthCompacting(records, items.size)) {
      const places = new Map<string, AppendLog.Place>()
      const newest = log.records.pipe(
        Stream.filter(isNewest),
        Stream.map(({ record }) => record)
      )
      yield* log
        .compact(newest, (record, place) => {
          const read = decode(record)
          if (Either.isRight(read) && read.right._tag === "Settled") places.set(read.right.key, place)
        })
        .pipe(Effect.mapError(fromLog))
      for (const [key, kept] of items) {
        const place = places.get(key)
        if (kept._tag === "Released") items.delete(key)
        else if (kept._tag === "Settled" && place !== undefined) items.set(key, { ...kept, ...place })
      }
    }

    return {
      begin: (endpointId) =>
        owner.begin(endpointId, Effect.asVoid(Effect.mapError(log.append({ endpointId }), fromLog))),
      find: (key) =>
        Effect.sync(() =>
          Option.map(Option.fromNullable(items.get(key)), (kept) =>
            kept._tag === "Settled" ? { _tag: "Settled", key, hash: kept.hash } : kept
          )
        ),
      outcome: (key) =>
        Effect.suspend(() => {
          const kept = items.get(key)
          if (kept?._tag !== "Settled") return Effect.succeedNone
          return Effect.flatMap(Effect.mapError(log.read(kept), fromLog), (record) => {
            const entry = Either.getOrUndefined(decode(record))
            if (entry?._tag === "Settled") return Effect.succeedSome(entry)
            const detail = "an outcome is no longer where it was: the file was changed by somebody else. Open it again."
            return Effect.fail(new BatchJournalError({ reason: "Corrupt", file: path, key, byte: kept.offset, detail }))
          })
        }),
      submitted: Effect.sync(() =>
        Array.from(items.values()).filter((kept): kept is JournalEntry.Submitted => kept._tag === "Submitted")
      ),
      append: (entry) => Effect.mapError(log.append(entry), fromLog).pipe(Effect.map((place) => keep(entry, place)))
    }
  })
