import type { PermitStore } from "effect-runpod-cluster"

/** A request that wants nothing. */
export const request = (options: Partial<PermitStore.Request>): PermitStore.Request => ({
  pool: "pool",
  holder: "a",
  window: { limit: 100, span: 60_000 },
  places: 10,
  wanted: undefined,
  demand: 1,
  inFlight: 0,
  ttl: 60_000,
  unsaved: [],
  known: () => [],
  ...options
})
