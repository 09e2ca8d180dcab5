import type { Bounds, Delivery, Match, Stored } from "../../layers/WebhookStore.js"

/** What a token has been used for. */
export interface Use {
  readonly token: string
  readonly jobId: string
  readonly expiresAt: number
  readonly outcomes: ReadonlyArray<string>
}

interface Used extends Use {
  readonly outcomes: Array<string>
}

/** A job can be retried and end again, but not for ever. */
const mostOutcomes = 16
/** How many more uses than deliveries are remembered: they are small, and guard against replays until they expire. */
const usesPerDelivery = 10

/**
 * Deliveries in memory, bounded by age, number and size, and the uses of tokens. Plain state, touched only synchronously.
 */
export class Shelf {
  private readonly kept = new Map<number, Stored>()
  private readonly byJob = new Map<string, Array<Stored>>()
  private readonly byKey = new Map<string, Array<Stored>>()
  private readonly uses = new Map<string, Used>()
  private size = 0
  latest = 0

  constructor(private readonly bounds: Bounds) {}

  get count(): number {
    return this.kept.size
  }

  get useCount(): number {
    return this.uses.size
  }

  /** Whether a delivery may be added. */
  judge({ jobId, outcome, token }: Delivery): "New" | "Duplicate" | "Replayed" {
    const use = this.uses.get(token)
    if (use === undefined) return "New"
    if (use.jobId !== jobId) return "Replayed"
    if (use.outcomes.includes(outcome)) return "Duplicate"
    return use.outcomes.length < mostOutcomes ? "New" : "Replayed"
  }

  put(stored: Stored): void {
    const { expiresAt, jobId, outcome, sequence, token } = stored
    this.note({ token, jobId, expiresAt, outcomes: [outcome] })
    this.latest = Math.max(this.latest, sequence)
    this.kept.set(sequence, stored)
    append(this.byJob, jobId, stored)
    if (stored.key !== undefined) append(this.byKey, stored.key, stored)
    this.size += stored.body.length
    this.tidy(stored.receivedAt)
  }

  note({ expiresAt, jobId, outcomes, token }: Use): void {
    const use = this.uses.get(token)
    if (use === undefined) this.uses.set(token, { token, jobId, expiresAt, outcomes: [...outcomes] })
    else use.outcomes.push(...outcomes.filter((outcome) => !use.outcomes.includes(outcome)))
  }

  /** Drops what is too old or too much: the oldest first. */
  tidy(now: number): void {
    const { maxAge, maxBytes, maxCount } = this.bounds
    for (const stored of this.kept.values()) {
      // The newest stays, however large it is: its reader is about to come.
      const isTooMuch = this.kept.size > 1 && (this.kept.size > maxCount || this.size > maxBytes)
      if (!isTooMuch && now - stored.receivedAt <= maxAge) break
      this.kept.delete(stored.sequence)
      dropFirst(this.byJob, stored.jobId)
      if (stored.key !== undefined) dropFirst(this.byKey, stored.key)
      this.size -= stored.body.length
    }
    for (const use of this.uses.values()) {
      if (use.expiresAt > now && this.uses.size <= maxCount * usesPerDelivery) break
      this.uses.delete(use.token)
    }
  }

  /** Deliveries from `after` to `until`, both excluded, oldest first. */
  range(after: number, until: number, limit: number): ReadonlyArray<Stored> {
    const found: Array<Stored> = []
    // Sequence numbers rise without gaps but for what failed, so that going through the numbers is cheaper than a search.
    const first = this.kept.keys().next().value ?? Infinity
    for (let n = Math.max(after + 1, first); n <= this.latest && n < until && found.length < limit; n++) {
      const stored = this.kept.get(n)
      if (stored !== undefined) found.push(stored)
    }
    return found
  }

  /** The newest delivery that matches. */
  find(match: Match): Stored | undefined {
    const candidates = match.jobId === undefined ? this.byKey.get(match.key ?? "") : this.byJob.get(match.jobId)
    return candidates?.findLast((stored) => matches(match, stored))
  }

  /** The uses of tokens whose deliveries are gone, and the deliveries that are kept. */
  contents(): { readonly uses: ReadonlyArray<Use>; readonly kept: ReadonlyArray<Stored> } {
    return { uses: [...this.uses.values()], kept: [...this.kept.values()] }
  }
}

/** Whether a delivery is what somebody waits for. */
export const matches = (match: Match, stored: Pick<Stored, "endpointId" | "jobId" | "key" | "sequence">): boolean =>
  (match.endpointId === undefined || stored.endpointId === undefined || stored.endpointId === match.endpointId) &&
  (match.jobId === undefined || stored.jobId === match.jobId) &&
  (match.key === undefined || stored.key === undefined || stored.key === match.key) &&
  stored.sequence > (match.after ?? 0)

const append = (map: Map<string, Array<Stored>>, key: string, stored: Stored): void => {
  const list = map.get(key)
  if (list === undefined) map.set(key, [stored])
  else list.push(stored)
}

const dropFirst = (map: Map<string, Array<Stored>>, key: string): void => {
  const list = map.get(key)
  if (list === undefined || list.length <= 1) map.delete(key)
  else list.shift()
}
