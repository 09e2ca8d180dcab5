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
import type { Added, Delivery, FileOptions, Service, Stored } from "../../layers/WebhookStore.js"
import * as AppendLog from "../files/appendLog.js"
import { DeliveryTable, limitsOf } from "./deliveryTable.js"

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
const TokenUseRecord = Schema.Struct({
  token: Schema.String,
  jobId: Schema.String,
  expiresAt: Schema.Number,
  outcomes: Schema.Array(Schema.String)
})

/** The highest sequence number at a compaction, so that none is given out twice. */
const LatestRecord = Schema.Struct({ latest: Schema.Number })

const decode = Schema.decodeUnknownEither(Schema.Union(StoredRecord, TokenUseRecord, LatestRecord))

const isStored = (record: object): record is Stored => "sequence" in record

const storeError = (operation: WebhookStoreError["operation"]) => (error: AppendLog.AppendLogError) =>
  new WebhookStoreError({ operation, detail: error.message })

/** A delivery that is being written. */
interface Pending {
  readonly stored: Stored
  readonly done: Deferred.Deferred<void>
}

/** The table of deliveries, filled from a log and written to it first. Plain state, touched only synchronously. */
class FileStore {
  /** By token, in the order of their sequence numbers. */
  private readonly pending = new Map<string, Pending>()
  /** How many records the file holds. */
  private records = 0
  /** The highest sequence number given out, also to deliveries that are being written. */
  private latest = 0
  private isCompacting = false
  private readonly table: DeliveryTable

  constructor(options: FileOptions) {
    this.table = new DeliveryTable(limitsOf(options))
  }

  /** Takes a record that the file holds. */
  restore(record: typeof StoredRecord.Type | typeof TokenUseRecord.Type | typeof LatestRecord.Type): void {
    this.records++
    if (isStored(record)) {
      if (this.table.check(record) === "New") this.table.insert(record)
    } else if ("latest" in record) this.table.latest = Math.max(this.table.latest, record.latest)
    else this.table.addTokenUse(record)
  }

  /** All records are restored. */
  start(now: number): void {
    this.table.prune(now)
    this.latest = this.table.latest
  }

  /** The store's methods, over an open log. */
  service(log: AppendLog.AppendLog, scope: Scope.Scope): Service {
    const compact = this.compact(log, scope)
    const add: Service["add"] = (delivery) =>
      Effect.suspend(() => {
        const other = this.pending.get(delivery.token)
        // The same token at the same moment: whether that write succeeds decides about this delivery.
        if (other !== undefined) return Effect.zipRight(Deferred.await(other.done), add(delivery))
        const verdict = this.table.check(delivery)
        if (verdict !== "New") return Effect.succeed<Added>({ _tag: verdict })
        return Effect.uninterruptible(Effect.zipLeft(this.write(log, delivery), compact))
      })
    return {
      add,
      after: (sequence, limit) => Effect.sync(() => this.table.range(sequence, this.visibleUntil(), limit)),
      find: (match) => Effect.sync(() => Option.fromNullable(this.table.find(match))),
      latest: Effect.sync(() => Math.min(this.latest, this.visibleUntil() - 1))
    }
  }

  private write(log: AppendLog.AppendLog, delivery: Delivery): Effect.Effect<Added, WebhookStoreError> {
    const stored: Stored = { ...delivery, sequence: ++this.latest }
    const done = Deferred.unsafeMake<void>(FiberId.none)
    this.pending.set(delivery.token, { stored, done })
    return log.append(stored).pipe(
      Effect.mapBoth({
        onFailure: storeError("add"),
        onSuccess: (): Added => {
          this.table.insert(stored)
          return { _tag: "Stored", sequence: stored.sequence }
        }
      }),
      Effect.ensuring(
        Effect.suspend(() => {
          this.records++
          this.pending.delete(delivery.token)
          return Deferred.succeed(done, undefined)
        })
      )
    )
  }

  /** The first sequence number that must not be seen yet: a write before it may still fail, or end after it. */
  private visibleUntil(): number {
    return this.pending.values().next().value?.stored.sequence ?? Infinity
  }

  /** What the file is to hold. Uses of tokens come last: a delivery would be a duplicate of the use of its own token. */
  private contents(): ReadonlyArray<object> {
    const { deliveries, tokenUses } = this.table.contents()
    // A delivery that is being written may be in the old file already. When it is appended again it is read only once.
    const pending = Array.from(this.pending.values(), ({ stored }) => stored)
    return [{ latest: this.latest }, ...deliveries, ...pending, ...tokenUses]
  }

  /** Cuts out what is no longer kept, in the background. After a failure the next delivery tries again. */
  private compact(log: AppendLog.AppendLog, scope: Scope.Scope): Effect.Effect<void> {
    // The log reads this when nothing else can be written.
    const records = Stream.suspend(() => {
      const all = this.contents()
      this.records = all.length
      return Stream.fromIterable(all)
    })
    return Effect.suspend(() => {
      if (this.isCompacting || !AppendLog.isWorthCompacting(this.records, this.table.size)) return Effect.void
      this.isCompacting = true
      return log.compact(records).pipe(
        Effect.catchAll((error) => Effect.logWarning(`The store of webhooks was not compacted: ${error.message}`)),
        Effect.ensuring(Effect.sync(() => (this.isCompacting = false))),
        Effect.forkIn(scope),
        Effect.asVoid
      )
    })
  }
}

/** The store in a file. */
export const open = Effect.fnUntraced(function* (path: string, options: FileOptions) {
  const store = new FileStore(options)
  const restore = ({ line, record }: AppendLog.Entry): Effect.Effect<void, WebhookStoreError> =>
    Either.match(decode(record), {
      onLeft: (error) => {
        const detail = `${path}, line ${line}: this is no delivery (${AppendLog.wrongFieldOf(error)}). Restore the file, or move it away to start a new one.`
        return Effect.fail(new WebhookStoreError({ operation: "open", detail }))
      },
      onRight: (read) => Effect.sync(() => store.restore(read))
    })
  const log = yield* AppendLog.open(path, {
    format: "effect-runpod/webhooks",
    version: 1,
    onRecord: restore,
    sync: options.sync ?? "always",
    force: options.force ?? false
  }).pipe(Effect.catchTag("AppendLogError", (error) => Effect.fail(storeError("open")(error))))
  store.start(yield* Clock.currentTimeMillis)
  return store.service(log, yield* Effect.scope)
})
