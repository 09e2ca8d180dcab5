import * as Duration from "effect/Duration"

const encoder = new TextEncoder()

/** The beginning of a text: at most `bytes` bytes of UTF-8, whole characters only. */
export const excerpt = (text: string, bytes = 2048): string => {
  if (text.length * 3 <= bytes) return text
  const { read } = encoder.encodeInto(text, new Uint8Array(bytes))
  return read === text.length ? text : text.slice(0, read)
}

/** A text for the middle of a message: with a full stop, unless it ends with a mark of its own. */
export const asSentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`)

/** A duration for a message, such as "1m 30s", rounded to milliseconds. */
export const formatDuration = (duration: Duration.Duration): string =>
  Duration.format(Duration.millis(Math.round(Duration.toMillis(duration))))
