import * as Duration from "effect/Duration"
import { describeJson, isJsonObject } from "./json.js"

const encoder = new TextEncoder()

/** The beginning of a text: at most `bytes` bytes of UTF-8, whole characters only. */
export const excerpt = (text: string, bytes = 2048): string => {
  if (text.length * 3 <= bytes) return text
  const { read } = encoder.encodeInto(text, new Uint8Array(bytes))
  return read === text.length ? text : text.slice(0, read)
}

/** A JSON value for a message, cut off after about so many characters. However large it is, no more of it is written. */
export const excerptOfJson = (value: unknown, most = 256): string => {
  let left = most
  const shorten = (_: string, entry: unknown): unknown => {
    if (left <= 0) return undefined
    left -= typeof entry === "string" ? entry.length : 4
    if (typeof entry === "string") return entry.slice(0, most)
    if (typeof entry === "bigint") return String(entry)
    if (Array.isArray(entry)) return entry.slice(0, most / 4)
    return isJsonObject(entry) ? Object.fromEntries(Object.entries(entry).slice(0, most / 4)) : entry
  }
  const text = JSON.stringify(value, shorten) ?? describeJson(value)
  return left <= 0 || text.length > most ? `${text.slice(0, most)}…` : text
}

/** A text for the middle of a message: with a full stop, unless it ends with a mark of its own. */
export const asSentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`)

/** A text as a sentence of a message. A first word that is a name, such as `policy.ttl` or `executionTimeout`, stays as it is. */
export const asOwnSentence = (text: string): string =>
  asSentence(text.replace(/^[a-z]+(?![\w[]|\.\w)/, (word) => word.charAt(0).toUpperCase() + word.slice(1)))

/** A duration for a message, such as "1m 30s", rounded to milliseconds. */
export const formatDuration = (duration: Duration.Duration): string =>
  Duration.format(Duration.millis(Math.round(Duration.toMillis(duration))))

/** An amount of USD for a message: to the cent, and where that would tell nothing, to a millionth. */
export const formatUsd = (amount: number): string => `$${amount.toFixed(amount >= 10 ? 2 : amount >= 0.1 ? 4 : 6)}`
