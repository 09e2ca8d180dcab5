import type { Source } from "effect-runpod-dashboard"
import { Effect } from "effect"

/** A source of jobs that a test gives, and the ids of those that were cancelled. */
export const listed = (name: string, ...ids: ReadonlyArray<string>) => {
  const jobs = ids.map((id) => ({ id, status: "IN_PROGRESS" }))
  const cancelled: Array<string> = []
  const source: Source.Source = {
    name,
    kind: "journal",
    read: (cursor) =>
      Effect.sync(() => ({ cursor: jobs.length, isReset: false, jobs: jobs.slice(cursor), removed: [] })),
    actions: { cancel: (id) => Effect.sync(() => void cancelled.push(id)) }
  }
  return { source, cancelled, add: (id: string) => void jobs.push({ id, status: "IN_PROGRESS" }) }
}
