import { make as makeEndpoint } from "effect-runpod/Endpoint"
import type { Health } from "effect-runpod/Health"
import type { RunPod } from "effect-runpod/RunPod"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"

/** How long it is believed that workers are up, or that there is none, in milliseconds from the question on. */
const isGoodFor = 5_000
/** RunPod answers in a fraction of this; a call does not wait longer to learn how it is best made. */
const mayTake = "3 seconds"

/** Whether a worker is there that takes a request at once, or after those before it. */
export const hasWorker = ({ workers: { idle = 0, ready = 0, running = 0 } }: Health): boolean =>
  idle + ready + running > 0

/**
 * Whether a worker of the endpoint is up. One that does not say so has none: a job is right whatever is the case. Calls that ask at once
 * share one request, on a fiber of its own: with `Effect.cached` a call that is interrupted would take the others with it.
 */
export const make = (endpointId: string): Effect.Effect<Effect.Effect<boolean>, never, RunPod> =>
  Effect.map(makeEndpoint(endpointId, { input: Schema.Object, output: Schema.Unknown }), ({ health }) => {
    const ask = health.pipe(
      Effect.map(hasWorker),
      Effect.timeoutTo({ duration: mayTake, onTimeout: () => false, onSuccess: (warm) => warm }),
      Effect.orElseSucceed(() => false)
    )
    let last: { readonly asking: Fiber.Fiber<boolean>; readonly until: number } | undefined
    return Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      if (last === undefined || now >= last.until)
        last = { asking: yield* Effect.forkDaemon(ask), until: now + isGoodFor }
      return yield* Fiber.join(last.asking)
    })
  })
