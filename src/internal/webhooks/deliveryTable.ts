import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type { Delivery, Match, Options, Stored } from "../../layers/WebhookStore.js"

export const TokenUse = Schema.Struct({
  token: Schema.String,
  jobId: Schema.String,
  expiresAt: Schema.Number,
  outcomes: Schema.Array(Schema.String)
})
export type TokenUse = typeof TokenUse.Type

export const TokenTrace = Schema.Struct({ token: Schema.String, trace: Schema.String, expiresAt: Schema.Number })
export type TokenTrace = typeof TokenTrace.Type

/** A job can be retried and end again, but not for ever. */
const maxOutcomes = 16
/** How many deliveries are kept by default. */
const usualCount = 10_000
/** Uses of tokens are small and guard against replays until they expire: more of them are remembered than deliveries. */
const usesPerDelivery = 10

/** Values by key, in the order they were added. */
export class MultiMap<A> {
  private readonly sets = new Map<string, Set<A>>()

  /** How many keys have values. */
  get size(): number {
    return this.sets.size
  }

  /** All values, as they are now. */
  values(): ReadonlyArray<A> {
    return Array.from(this.sets.values(), (set) => [...set]).flat()
  }

  get(key: string): ReadonlySet<A> {
    return this.sets.get(key) ?? new Set()
  }

  add(key: string, value: A): void {
    const set = this.sets.get(key)
    if (set === undefined) this.sets.set(key, new Set([value]))
    else set.add(value)
  }

  delete(key: string, value: A): void {
    const set = this.sets.get(key)
    set?.delete(value)
    if (set?.size === 0) this.sets.delete(key)
  }
}

/** The deliveries that are kept, and the uses of tokens. Plain state, touched only synchronously. */
export class DeliveryTable {
  private readonly deliveries = new Map<number, Stored>()
  private readonly byJob = new MultiMap<Stored>()
  private readonly byKey = new MultiMap<Stored>()
  private readonly tokenUses = new Map<string, TokenUse>()
  private readonly traces = new Map<string, TokenTrace>()
  /** No delivery that is kept has a lower sequence number. */
  private lowest = Infinity
  /** Of all bodies, in characters. */
  private bodyLength = 0
  /** The highest sequence number so far. */
  latest = 0

  constructor(private readonly options: Options) {}

  /** How many records it takes to write all of it down. */
  get size(): number {
    return this.deliveries.size + this.tokenUses.size + this.traces.size
  }

  check({ jobId, outcome, token }: Delivery): "New" | "Duplicate" | "Replayed" {
    const use = this.tokenUses.get(token)
    if (use === undefined) return "New"
    if (use.jobId !== jobId) return "Replayed"
    if (use.outcomes.includes(outcome)) return "Duplicate"
    return use.outcomes.length < maxOutcomes ? "New" : "Replayed"
  }

  insert(stored: Stored): void {
    const { expiresAt, jobId, key, outcome, receivedAt, sequence, token } = stored
    this.addTokenUse({ token, jobId, expiresAt, outcomes: [outcome] })
    this.deliveries.set(sequence, stored)
    this.latest = Math.max(this.latest, sequence)
    this.lowest = Math.min(this.lowest, sequence)
    this.byJob.add(jobId, stored)
    if (key !== undefined) this.byKey.add(key, stored)
    this.bodyLength += stored.body.length
    this.prune(receivedAt)
  }

  addTokenUse(use: TokenUse): void {
    const known = this.tokenUses.get(use.token)
    const outcomes = new Set([...(known?.outcomes ?? []), ...use.outcomes])
    this.tokenUses.set(use.token, { ...(known ?? use), outcomes: [...outcomes] })
  }

  setTrace(trace: TokenTrace, now: number): void {
    this.traces.set(trace.token, trace)
    this.pruneTokens(now)
  }

  traceOf(token: string): string | undefined {
    return this.traces.get(token)?.trace
  }

  /** Drops what is too old or too much: the oldest first. */
  prune(now: number): void {
    const { maxAge = "7 days", maxBytes = 128 * 1024 * 1024, maxCount = usualCount } = this.options
    const oldest = now - Duration.toMillis(maxAge)
    for (const stored of this.deliveries.values()) {
      // The newest stays, however large it is: its subscribers have not read it yet.
      const isTooMuch = this.deliveries.size > 1 && (this.deliveries.size > maxCount || this.bodyLength > maxBytes)
      if (!isTooMuch && stored.receivedAt >= oldest) break
      this.remove(stored)
    }
    this.pruneTokens(now)
  }

  /** Drops what is known of tokens that have expired, or are too many. */
  private pruneTokens(now: number): void {
    const { maxCount = usualCount } = this.options
    for (const ofTokens of [this.tokenUses, this.traces]) {
      for (const { expiresAt, token } of ofTokens.values()) {
        if (expiresAt > now && ofTokens.size <= maxCount * usesPerDelivery) break
        ofTokens.delete(token)
      }
    }
  }

  /** Deliveries from `after` to `until`, both excluded, oldest first. */
  range(after: number, until: number, limit: number): ReadonlyArray<Stored> {
    const found: Array<Stored> = []
    const end = Math.min(until, this.latest + 1)
    // Only numbers of writes that failed are missing, so that going through the numbers is cheaper than a search.
    for (let n = Math.max(after + 1, this.lowest); n < end && found.length < limit; n++) {
      const stored = this.deliveries.get(n)
      if (stored !== undefined) found.push(stored)
    }
    return found
  }

  /** The newest delivery that matches. */
  find(match: Match): Stored | undefined {
    const candidates = match.jobId === undefined ? this.byKey.get(match.key ?? "") : this.byJob.get(match.jobId)
    return [...candidates].findLast((stored) => matches(match, stored))
  }

  /** All that is kept, uses of tokens last: a delivery would be a duplicate of the use of its own token. */
  contents(): ReadonlyArray<Stored | TokenUse | TokenTrace> {
    return [...this.deliveries.values(), ...this.tokenUses.values(), ...this.traces.values()]
  }

  private remove(stored: Stored): void {
    const { body, jobId, key, sequence } = stored
    this.deliveries.delete(sequence)
    this.byJob.delete(jobId, stored)
    if (key !== undefined) this.byKey.delete(key, stored)
    this.bodyLength -= body.length
    while (this.lowest <= this.latest && !this.deliveries.has(this.lowest)) this.lowest++
  }
}

export const matches = (match: Match, stored: Pick<Stored, "endpointId" | "jobId" | "key" | "sequence">): boolean =>
  (match.endpointId === undefined || stored.endpointId === undefined || stored.endpointId === match.endpointId) &&
  (match.jobId === undefined || stored.jobId === match.jobId) &&
  (match.key === undefined || stored.key === undefined || stored.key === match.key) &&
  stored.sequence > (match.after ?? 0)
