import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as BatchJournal from "effect-runpod/BatchJournal"
import type { Job, JournalOptions, Source, Update } from "../../Source.js"
import { errorOf } from "../text.js"

const open = { Intent: "IN_DOUBT", Submitted: "SUBMITTED", Released: "RELEASED" }

/** A path as one word of a shell. */
const quoted = (path: string): string => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`)

const jobOf = (item: BatchJournal.Item): Job => {
  if (item._tag === "Intent" || item._tag === "Released") {
    return { id: item.key, status: open[item._tag], retries: item.earlier ?? 0 }
  }
  const common = { id: item.key, jobId: item.jobId, retries: (item.earlier ?? 0) + item.attempts - 1 }
  if (item._tag === "Submitted") return { ...common, status: open[item._tag], createdAt: item.at }
  return {
    ...common,
    status: item.status,
    finishedAt: item.at,
    delayTime: item.delayTime,
    executionTime: item.executionTime,
    workerId: item.workerId,
    error: item.error === undefined ? undefined : errorOf(item.error)
  }
}

export const make = (path: string, options: JournalOptions = {}): Effect.Effect<Source, never, FileSystem> =>
  Effect.map(FileSystem, (fs) => {
    const state = { stamp: "", cursor: 0 }
    const nothing = (problem?: string): Update => ({
      cursor: state.cursor,
      isReset: false,
      jobs: [],
      removed: [],
      problem
    })
    return {
      name: options.name ?? path,
      kind: "journal",
      cost: options.cost,
      resume: options.resume ?? `effect-runpod batch resume ${quoted(path)}`,
      read: () =>
        Effect.gen(function* () {
          const info = yield* fs.stat(path)
          const stamp = `${info.size}:${Option.getOrElse(info.mtime, () => new Date(0)).getTime()}`
          if (stamp === state.stamp) return nothing()
          const { items } = yield* Effect.provideService(BatchJournal.read(path), FileSystem, fs)
          state.stamp = stamp
          return { cursor: ++state.cursor, isReset: true, jobs: items.map(jobOf), removed: [] }
        }).pipe(Effect.catchAll(({ message }) => Effect.succeed(nothing(message)))),
      actions: {}
    }
  })
