import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as RunPod from "effect-runpod/RunPod"
import type { Job, Options, Source, Update } from "../../Source.js"
import { textOf } from "../text.js"

/** How long an answer counts as new, in milliseconds. */
const interval = 5_000

export const make = (runPod: RunPod.Service, endpointId: string, options: Options = {}): Source => {
  const state: { last: Update | undefined; askedAt: number } = { last: undefined, askedAt: -Infinity }
  const ask = Effect.gen(function* () {
    const health = yield* Effect.either(runPod.health(endpointId))
    const recent = yield* Effect.either(runPod.requests(endpointId))
    const jobs: ReadonlyArray<Job> =
      recent._tag === "Left"
        ? []
        : recent.right.map((job) => ({
            id: job.id,
            jobId: job.id,
            status: job.status,
            delayTime: job.delayTime,
            executionTime: job.executionTime,
            workerId: job.workerId
          }))
    const problem = health._tag === "Left" ? health.left : recent._tag === "Left" ? recent.left : undefined
    const update: Update = {
      cursor: 0,
      isReset: recent._tag === "Right",
      jobs,
      removed: [],
      health: health._tag === "Right" ? health.right : undefined,
      problem: problem?.message
    }
    return update
  })
  return {
    name: options.name ?? endpointId,
    kind: "endpoint",
    endpointId,
    cost: options.cost,
    limits: options.limits,
    read: () =>
      Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        if (state.last !== undefined && now - state.askedAt < interval) {
          return { ...state.last, isReset: false, jobs: [] }
        }
        state.askedAt = now
        return (state.last = yield* ask)
      }),
    payload: (id) =>
      runPod.status(endpointId, id).pipe(
        Effect.map((job) => Option.some({ output: "output" in job ? job.output : undefined })),
        Effect.mapError(textOfError)
      ),
    actions: {
      cancel: (id) => Effect.asVoid(Effect.mapError(runPod.cancel(endpointId, id), textOfError)),
      retry: (id) => Effect.asVoid(Effect.mapError(runPod.retry(endpointId, id), textOfError))
    }
  }
}

const textOfError = (error: { readonly message: string }): string => textOf(error.message)
