/** Submits of several processes with one key under the documented limits: divided between them beforehand, or shared over a Redis. */
import { Effect } from "effect"
import * as Server from "../batch/server-client.js"
import * as Processes from "../processes.js"
import { service } from "../service.js"
import type { Submitted, WorkerOptions } from "./worker.js"

/** Only submits are measured. */
const idle = { workers: 1, execution: "1 hour" } as const

/** How the limits are kept. */
export type Mode = "one process" | "limits divided" | "limits shared" | "limits shared, uneven load"

export const modes: ReadonlyArray<Mode> = [
  "one process",
  "limits divided",
  "limits shared",
  "limits shared, uneven load"
]

export interface PermitFigures {
  readonly name: Mode
  readonly submits: number
  readonly throttled: number
  /** Until the last process has submitted all of its inputs. */
  readonly seconds: number
  /** What the documented limit allows at best. */
  readonly bound: number
  /** Milliseconds a submit, of all processes. */
  readonly cpu: number
}

const measure = (name: Mode, submits: number) =>
  Effect.gen(function* () {
    const isShared = name.startsWith("limits shared")
    const shares = name === "one process" ? [1] : name.endsWith("uneven load") ? [0.8, 0.1, 0.1] : [1 / 3, 1 / 3, 1 / 3]
    const server = yield* Server.start({ endpoints: { ep: idle, warm: idle } })
    const url = isShared ? yield* service("redis") : undefined
    const options = {
      url: server.url,
      redis: url,
      parts: name === "limits divided" ? shares.length : 1
    }
    const workers = yield* Effect.forEach(shares, (share) => {
      const worker: WorkerOptions = { ...options, count: Math.round(submits * share) }
      return Effect.acquireRelease(
        Effect.sync(() => Processes.start(new URL("worker.ts", import.meta.url), [JSON.stringify(worker)])),
        (child) => Effect.sync(() => void child.kill())
      )
    })
    const nextOfAll = <A>() => Promise.all(workers.map((worker) => Processes.nextMessage<A>(worker)))
    yield* Effect.promise(() => nextOfAll<"ready">())
    const all = yield* Effect.promise(() => {
      const ended = nextOfAll<Submitted>()
      for (const worker of workers) worker.send("go")
      return ended
    })
    const { rateLimited } = yield* server.summary
    const figures: PermitFigures = {
      name,
      submits,
      throttled: rateLimited,
      seconds: Math.max(...all.map(({ seconds }) => seconds)),
      bound: Math.floor((submits - 1) / 1_000) * 10,
      cpu: all.reduce((sum, { cpu }, i) => sum + cpu * (shares[i] ?? 0), 0)
    }
    return figures
  }).pipe(Effect.scoped)

export const measurePermits = (mode: Mode, submits: number): Promise<PermitFigures> =>
  Effect.runPromise(measure(mode, submits))
