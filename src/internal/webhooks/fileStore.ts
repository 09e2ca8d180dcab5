import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { WebhookStoreError } from "../../errors/WebhookError.js"
import type { Added, Delivery, FileOptions, Service, Stored } from "../../layers/WebhookStore.js"
import * as AppendLog from "../files/appendLog.js"
import { DeliveryTable, TokenTrace, TokenUse } from "./deliveryTable.js"

/** The records of the file. The use of a token is there when its delivery itself is gone. */
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

/** The highest sequence number at a compaction, so that none is given out twice. */
const LatestRecord = Schema.Struct({ latest: Schema.Number })

const decode = Schema.decodeUnknown(Schema.Union(StoredRecord, TokenUse, TokenTrace, LatestRecord))

const storeError = (operation: WebhookStoreError["operation"]) => (error: AppendLog.AppendLogError) =>
  new WebhookStoreError({ operation, detail: error.message })

/** Its table is filled from the log and written to it first. Plain state, touched only synchronously. */
class FileStore implements Service {
  /** The deliveries that are being written, by token, in the order of their sequence numbers. */
  private readonly pending = new Map<string, { readonly stored: Stored; readonly done: Deferred.Deferred<void> }>()
  /** The highest sequence number given out, also to deliveries that are being written. */
  private sequence: number
  private isCompacting = false

  constructor(
    private readonly table: DeliveryTable,
    private readonly log: AppendLog.AppendLog,
    /** How many the log holds. */
    private records: number,
    private readonly scope: Scope.Scope
  ) {
    this.sequence = table.latest
  }

  readonly add = (delivery: Delivery): Effect.Effect<Added, WebhookStoreError> =>
    Effect.suspend(() => {
      const other = this.pending.get(delivery.token)
      // The same token at the same moment: whether that write succeeds decides about this delivery.
      if (other !== undefined) return Effect.zipRight(Deferred.await(other.done), this.add(delivery))
      const verdict = this.table.check(delivery)
      if (verdict !== "New") return Effect.succeed<Added>({ _tag: verdict })
      return Effect.uninterruptible(Effect.zipLeft(this.write(delivery), this.compact))
    })

  readonly after: Service["after"] = (sequence, limit) =>
    Effect.sync(() => this.table.range(sequence, this.visibleUntil, limit))

  readonly find: Service["find"] = (match) => Effect.sync(() => Option.fromNullable(this.table.find(match)))

  readonly latest = Effect.sync(() => Math.min(this.sequence, this.visibleUntil - 1))

  readonly noteTrace = (trace: TokenTrace): Effect.Effect<void, WebhookStoreError> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const noted = Effect.mapBoth(this.log.append(trace), {
        onFailure: storeError("add"),
        onSuccess: () => {
          this.records++
          this.table.setTrace(trace, now)
        }
      })
      return Effect.uninterruptible(Effect.zipLeft(noted, this.compact))
    })

  readonly traceOf = (token: string) => Effect.sync(() => Option.fromNullable(this.table.traceOf(token)))

  private write(delivery: Delivery): Effect.Effect<Added, WebhookStoreError> {
    const stored: Stored = { ...delivery, sequence: ++this.sequence }
    const done = Deferred.unsafeMake<void>(FiberId.none)
    this.pending.set(delivery.token, { stored, done })
    return this.log.append(stored).pipe(
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
  private get visibleUntil(): number {
    return this.pending.values().next().value?.stored.sequence ?? Infinity
  }

  /** What the file is to hold. The log reads this when nothing else can be written. */
  private readonly contents = Stream.suspend(() => {
    // A delivery that is being written may be in the old file already. When it is appended again it is read only once.
    const pending = Array.from(this.pending.values(), ({ stored }) => stored)
    const all = [{ latest: this.sequence }, ...this.table.contents(), ...pending]
    this.records = all.length
    return Stream.fromIterable(all)
  })

  /** Cuts out what is no longer kept, in the background. After a failure the next delivery tries again. */
  private readonly compact = Effect.suspend(() => {
    if (this.isCompacting || !AppendLog.isWorthCompacting(this.records, this.table.size)) return Effect.void
    this.isCompacting = true
    return this.log.compact(this.contents).pipe(
      Effect.catchAll((error) => Effect.logWarning(`The store of webhooks was not compacted: ${error.message}`)),
      Effect.ensuring(Effect.sync(() => (this.isCompacting = false))),
      Effect.forkIn(this.scope),
      Effect.asVoid
    )
  })
}

export const open = Effect.fnUntraced(function* (path: string, { force, sync = "always", ...options }: FileOptions) {
  const table = new DeliveryTable(options)
  const now = yield* Clock.currentTimeMillis
  let records = 0
  const onRecord = ({ line, record }: AppendLog.Entry): Effect.Effect<void, WebhookStoreError> =>
    Effect.mapBoth(decode(record), {
      onFailure: (error) => {
        const detail = `${path}, line ${line}: this is no delivery (${AppendLog.wrongFieldOf(error)}). Restore the file, or move it away to start a new one.`
        return new WebhookStoreError({ operation: "open", detail })
      },
      onSuccess: (record) => {
        records++
        if ("latest" in record) table.latest = Math.max(table.latest, record.latest)
        else if ("outcomes" in record) table.addTokenUse(record)
        else if ("trace" in record) table.setTrace(record, now)
        else if (table.check(record) === "New") table.insert(record)
      }
    })
  const log = yield* AppendLog.open(path, { format: "effect-runpod/webhooks", onRecord, sync, force }).pipe(
    Effect.catchTag("AppendLogError", (error) => Effect.fail(storeError("open")(error)))
  )
  table.prune(now)
  return new FileStore(table, log, records, yield* Effect.scope)
})
