import * as Redacted from "effect/Redacted"
import { isJsonObject } from "./json.js"

/** Strikes secrets out of a text. */
export type Scrub = (text: string) => string

const variants = (secret: string): ReadonlyArray<string> => [
  secret,
  JSON.stringify(secret).slice(1, -1),
  JSON.stringify(secret).slice(1, -1).replaceAll("/", "\\/"),
  secret.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;"),
  ...(secret.isWellFormed() ? [encodeURIComponent(secret), encodeURI(secret)] : [])
]

/**
 * A scrubber for these secrets as they stand, and as JSON, HTML or a URL would write them. A server can echo what it
 * was sent, so whatever comes from outside passes here before it enters an error, a log or a span.
 */
export const makeScrub = (secrets: ReadonlyArray<string>): Scrub => {
  // Longest first, so that no secret survives as the rest of a shorter one inside it.
  const targets = [...new Set(secrets.filter((secret) => secret !== "").flatMap(variants))].sort(
    (a, b) => b.length - a.length
  )
  return (text) => targets.reduce((out, target) => out.replaceAll(target, "<redacted>"), text)
}

/** The scrubber applied to every string and key inside a value. */
export const scrubValue = (value: unknown, scrub: Scrub): unknown => {
  if (typeof value === "string") return scrub(value)
  if (Array.isArray(value)) return value.map((entry) => scrubValue(entry, scrub))
  if (!isJsonObject(value) || Redacted.isRedacted(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [scrub(key), scrubValue(entry, scrub)]))
}
