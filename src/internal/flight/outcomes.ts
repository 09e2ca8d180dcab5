import { isTerminal } from "../../schemas/JobStatus.js"
import type { Attempt, JobReading } from "../../schemas/FlightRecord.js"
import type { Outcome, Recording } from "../../services/Flight.js"

/**
 * What a submit's attempt came to: nothing, so that it may have been sent again (429, no connection, a paused endpoint), a job,
 * a refusal, or a doubt about whether there is a job.
 */
export type SubmitEnd =
  | { readonly _tag: "NoEffect" }
  | { readonly _tag: "Accepted"; readonly job: string }
  | { readonly _tag: "Refused"; readonly error: string }
  | { readonly _tag: "Ambiguous" }

const withoutEffect = new Set(["RateLimitedError", "EndpointPausedError"])

export const submitEnd = ({ end, job }: Attempt): SubmitEnd => {
  if (end._tag === "GivenUp") return { _tag: "Ambiguous" }
  if (end._tag === "NoAnswer") return { _tag: end.sent === "No" ? "NoEffect" : "Ambiguous" }
  if (job !== undefined) return { _tag: "Accepted", job }
  const { error } = end
  if (error === undefined || error === "ServerError") return { _tag: "Ambiguous" }
  return withoutEffect.has(error) ? { _tag: "NoEffect" } : { _tag: "Refused", error }
}

/** What was last said of each job; nothing comes after the word that it has ended, but a retry. */
export const lastStatuses = ({ attempts, deliveries }: Recording): ReadonlyMap<string, JobReading["status"]> => {
  const said: Array<{
    readonly at: number
    readonly job: string
    readonly status: JobReading["status"]
    readonly isRetry: boolean
  }> = []
  for (const { end, ended, job, operation } of attempts) {
    if (job === undefined || end._tag !== "Answer" || end.job === undefined) continue
    said.push({ at: ended, job, status: end.job.status, isRetry: operation === "retry" })
  }
  for (const { at, job, reading } of deliveries) {
    if (job !== undefined && reading !== undefined) said.push({ at, job, status: reading.status, isRetry: false })
  }
  said.sort((a, b) => a.at - b.at)
  const last = new Map<string, JobReading["status"]>()
  for (const { isRetry, job, status } of said) {
    const before = last.get(job)
    if (before === undefined || isRetry || !isTerminal(before)) last.set(job, status)
  }
  return last
}

export const outcomesOf = (recording: Recording): ReadonlyArray<Outcome> => {
  const statuses = lastStatuses(recording)
  const outcomes = new Map<string, Outcome & { readonly ends: Array<string> }>()
  for (const attempt of recording.attempts) {
    const { endpoint = "", submit } = attempt
    if (submit === undefined) continue
    const key = `${endpoint} ${submit.input}`
    let outcome = outcomes.get(key)
    if (outcome === undefined) outcomes.set(key, (outcome = { endpoint, input: submit.input, ends: [] }))
    const end = submitEnd(attempt)
    if (end._tag === "Accepted") outcome.ends.push(statuses.get(end.job) ?? "Unknown")
    else if (end._tag === "Refused") outcome.ends.push(end.error)
    else if (end._tag === "Ambiguous") outcome.ends.push("Ambiguous")
  }
  return [...outcomes.values()]
}
