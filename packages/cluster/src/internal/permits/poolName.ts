import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Permits from "effect-runpod/Permits"
import { sha256 } from "../sha256.js"

/** The name of a pool in a store, from which nobody learns the key. */
export const nameOf = ({ apiKey, baseUrl, name }: Permits.PoolOptions): Effect.Effect<string> =>
  Effect.map(sha256(JSON.stringify([Redacted.value(apiKey), baseUrl, name])), (hash) => hash.slice(0, 32))
