import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { WebhookStoreError } from "../../errors/WebhookError.js"
import type { Delivery, FileOptions, Service, Stored } from "../../layers/WebhookStore.js"
import * as AppendLog from "../files/appendLog.js"
import { readBounds } from "./bounds.js"
import { Shelf } from "./deliveries.js"

/** A delivery. */
const StoredRecord = Schema.Struct({
  sequence: Schema.Number,
  token: Schema.String,
  expiresAt: Schema.Number,
  endpointId: Schema.optional(Schema.String),
  key: Schema.optional(Schema.String),
  jobId: Schema.String,
  outcome: Schema.String,
  receivedAt: Schema.Number,
  body: Schema.String
})

/** What a token was used for, when the delivery itself is gone. */
const UseRecord = Schema.Struct({
  token: Schema.String,
  jobId: Schema.String,
  expiresAt: Schema.Number,
  outcomes: Schema.Array(Schema.String)
})

/** The highest sequence number at a compaction, so that none is given out twice. */
const LatestRecord = Schema.Struct({ latest: Schema.Number })

const decode = Schema.decodeUnknownEither(Schema.Union(StoredRecord, UseRecord, LatestRecord))

const isStored = (record: object): record is Stored => "sequence" in record

const storeError = (operation: WebhookStoreError["operation"]) => (error: AppendLog.AppendLogError) =>
  new WebhookStoreError({ operation, detail: error.message })

/** The store in a file: a shelf in memory, filled from the log and written to it first. */
export const open = (
  path: string,
  options: FileOptions
): Effect.Effect<Service, WebhookStoreError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const shelf = new Shelf(readBounds(options))
    /** Deliveries that are being written, by token, in the order of their numbers. */
    const pending = new Map<string, { readonly stored: Stored; readonly done: Deferred.Deferred<void> }>()
    /** Lines in the file. */
    let records = 0
    let last = 0
    let isCompacting = false

    const restore = ({ line, record }: AppendLog.Entry): Effect.Effect<void, WebhookStoreError> =>
      Either.match(decode(record), {
        onLeft: (error) => {
          const detail = `${path}, line ${line}: this is no delivery (${AppendLog.wrongFieldOf(error)}). Restore the file, or move it away to start a new one.`
          return Effect.fail(new WebhookStoreError({ operation: "open", detail }))
        },
        onRight: (read) => {
          records++
          if (isStored(read)) {
            if (shelf.judge(read) === "New") shelf.put(read)
          } else if ("latest" in read) shelf.latest = Math.max(shelf.latest, read.latest)
          else shelf.note(read)
          return Effect.void
        }
      })

    const log = yield* AppendLog.open(path, {
      format: "effect-runpod/webhooks",
      version: 1,
      onRecord: restore,
      sync: options.sync ?? "always",
      force: options.force ?? false
    }).pipe(Effect.catchTag("AppendLogError", (error) => Effect.fail(storeError("open")(error))))
    shelf.tidy(yield* Clock.currentTimeMillis)
    last = shelf.latest

    /** What the file is to hold. Uses come last: a delivery that is there already is no use of its token. */
    const contents = (): ReadonlyArray<object> => {
      const { kept, uses } = shelf.contents()
      // What is being written may be in the old file already. If it comes again behind these, it is read only once.
      return [{ latest: last }, ...kept, ...Array.from(pending.values(), ({ stored }) => stored), ...uses]
    }

    /** Cuts out what is no longer kept. A file that cannot be compacted goes on growing, and it is tried again. */
    const compact = Effect.suspend(() => {
      if (isCompacting || !AppendLog.isWorthCompacting(records, shelf.count + shelf.useCount)) return Effect.void
      isCompacting = true
      // Read when nothing else can be written.
      const stream = Stream.suspend(() => {
        const all = contents()
        records = all.length
        return Stream.fromIterable(all)
      })
      return log.compact(stream).pipe(
        Effect.catchAll((error) => Effect.logWarning(`The store of webhooks was not compacted: ${error.message}`)),
        Effect.ensuring(Effect.sync(() => (isCompacting = false))),
        Effect.forkIn(scope),
        Effect.asVoid
      )
    })

    const write = (delivery: Delivery) => {
      const stored: Stored = { ...delivery, sequence: ++last }
      const done = Deferred.unsafeMake<void>(FiberId.none)
      pending.set(delivery.token, { stored, done })
      return log.append(stored).pipe(
        Effect.tap(() => Effect.sync(() => shelf.put(stored))),
        Effect.ensuring(
          Effect.suspend(() => {
            records++
            pending.delete(delivery.token)
            return Deferred.succeed(done, undefined)
          })
        ),
        Effect.mapError(storeError("add")),
        Effect.zipRight(compact),
        Effect.as({ _tag: "Stored" as const, sequence: stored.sequence })
      )
    }

    const add: Service["add"] = (delivery) =>
      Effect.suspend(() => {
        const other = pending.get(delivery.token)
        // The same token at the same moment: what became of the other decides.
        if (other !== undefined) return Effect.zipRight(Deferred.await(other.done), add(delivery))
        const verdict = shelf.judge(delivery)
        return verdict === "New" ? Effect.uninterruptible(write(delivery)) : Effect.succeed({ _tag: verdict })
      })

    /** The first number that is not to be seen yet: what is being written may fail, or come before what was written already. */
    const horizon = (): number => pending.values().next().value?.stored.sequence ?? Infinity

    return {
      add,
      after: (sequence, limit) => Effect.sync(() => shelf.range(sequence, horizon(), limit)),
      find: (match) => Effect.sync(() => Option.fromNullable(shelf.find(match))),
      latest: Effect.sync(() => Math.min(last, horizon() - 1))
    }
  })
