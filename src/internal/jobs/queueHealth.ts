import * as Effect from "effect/Effect"
import type { RunPodError } from "../../errors/RunPodError.js"
import type { Health } from "../../schemas/Health.js"
import { once } from "../http/requestOptions.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { LruCache } from "./lru.js"

/** What an endpoint's workers were like when last asked. */
export type Condition = Health | "Paused"

/** The least time between two questions about an endpoint, answered or not. */
const freshFor = 15_000
/** A condition that is older says nothing of now. */
const staleAfter = 120_000
/** How long an answer may take. */
const patience = 10_000
const mostEndpoints = 256

interface Entry {
  askedAt: number
  condition: Condition | undefined
}

/** The health of endpoints, asked rarely and for all waits of a layer together. */
export interface QueueHealth {
  /** The newest condition that is known; asks anew in the background when that is old. Never fails, and never waits. */
  readonly look: (endpointId: string) => Effect.Effect<Condition | undefined>
  /** The condition that the last look has brought. */
  readonly last: (endpointId: string) => Condition | undefined
}

export const make = (
  ask: (endpointId: string) => Effect.Effect<Health, RunPodError>,
  fork: (effect: Effect.Effect<void>) => Effect.Effect<unknown>
): QueueHealth => {
  const entries = new LruCache<Entry>(mostEndpoints)
  return {
    look: (endpointId) =>
      Effect.clockWith((clock) => {
        const now = monotonicMillis(clock)
        const entry = entries.get(endpointId, () => ({ askedAt: -Infinity, condition: undefined }))
        if (now - entry.askedAt < freshFor) return Effect.succeed(entry.condition)
        if (now - entry.askedAt > staleAfter) entry.condition = undefined
        entry.askedAt = now
        const refresh = Effect.match(once(ask(endpointId), now + patience), {
          onSuccess: (health) => {
            entry.condition = health
          },
          onFailure: (error) => {
            entry.condition = error._tag === "EndpointPausedError" ? "Paused" : undefined
          }
        })
        return Effect.map(fork(refresh), () => entry.condition)
      }),
    last: (endpointId) => entries.peek(endpointId)?.condition
  }
}
