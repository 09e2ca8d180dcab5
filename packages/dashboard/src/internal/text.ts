import * as JobFailure from "effect-runpod/JobFailure"

/** At most so many characters of an error are shown. */
const longest = 2_000

/** What a job's `error` says, of whatever form it is. */
export const errorOf = (error: unknown): string => {
  const { errorType: type, message } = JobFailure.fromError(error)
  if (message === undefined) return textOf(error)
  return textOf(type === undefined ? message : `${type}: ${message}`)
}

/** A value as text for a person, cut where it is long. */
export const textOf = (value: unknown): string => {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value))
  return text.length > longest ? `${text.slice(0, longest)}…` : text
}
