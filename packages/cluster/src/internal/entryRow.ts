import type * as JournalEntry from "effect-runpod/JournalEntry"
import type { Taken } from "../BatchStore.js"

/** An entry on its way into its row. */
export interface Written {
  readonly entry: JournalEntry.Entry
  /** The entry's text; absent from the row of a settled one, where it is the outcome. */
  readonly text: string
  /** Names the intent: what is told of its job is written only where it still stands. */
  readonly intent: string | undefined
}

export const columns = {
  b: "text",
  c: "int",
  p: "int",
  k: "text",
  h: "text",
  s: "text",
  i: "text",
  j: "text",
  n: "int",
  a: "float8",
  t: "text",
  w: "text",
  o: "text",
  f: "text"
} as const

const kinds = {
  FAILED: "JobFailedError",
  CANCELLED: "JobCancelledError",
  TIMED_OUT: "JobTimedOutError"
} as const

/** The error that a job has ended with, by its tag; `null` for one with an output. */
const kindOf = ({ output, status }: JournalEntry.Settled): string | null => {
  if (status !== "COMPLETED") return kinds[status]
  return output === undefined ? "OutputMissingError" : null
}

/** A time goes as an age, and the database counts it back from its own clock. */
export const rowOf = ({ entry, intent, text }: Written, { batch, chunk, epoch }: Taken, now: number) => {
  const settled = entry._tag === "Settled" ? entry : undefined
  const { earlierExecutionTime, executionTime, workerId } = settled ?? {}
  return {
    b: batch,
    c: chunk,
    p: epoch,
    k: entry.key,
    h: entry.hash,
    s: entry._tag,
    i: intent ?? null,
    j: "jobId" in entry ? entry.jobId : null,
    n: "attempts" in entry ? entry.attempts : null,
    a: now - entry.at,
    t: settled === undefined ? text : null,
    w: settled === undefined ? null : JSON.stringify({ earlierExecutionTime, executionTime, workerId }),
    o: settled === undefined ? null : text,
    f: settled === undefined ? null : kindOf(settled)
  }
}
