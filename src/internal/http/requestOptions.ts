import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import type { AttemptObserver } from "../../layers/RunPodHttpClient.js"
import { type RuntimeFiber, withFiber } from "../effect/fiber.js"
import * as FiberRefs from "../effect/fiberRef.js"
import type { Labels } from "../telemetry/instruments.js"
import { currentTally, type Tally } from "../telemetry/tally.js"
import { Tracing } from "../telemetry/tracing.js"

/** What the effects around a request say about it, whichever service sends it. */
export interface RequestOptions {
  /** When the caller gives up, on the monotonic clock in milliseconds. */
  readonly deadline: number
  /** Send it once: the caller has a way of its own to go on. */
  readonly once: boolean
  /** How long it may take in all, in milliseconds from its first permit; waiting for further permits does not count. */
  readonly grace: number | undefined
  readonly observer: AttemptObserver | undefined
  /** What its errors must not hold, beside the secrets of its own body. */
  readonly secrets: ReadonlyArray<string>
}

const defaults: RequestOptions = { deadline: Infinity, once: false, grace: undefined, observer: undefined, secrets: [] }

export const current = FiberRefs.make("currentRequestOptions", defaults)

/** Runs `effect` with a deadline that is no later than the one it is under already. */
export const withDeadline = <A, E, R>(effect: Effect.Effect<A, E, R>, deadline: number): Effect.Effect<A, E, R> =>
  FiberRefs.update(effect, current, (outer) => ({ ...outer, deadline: Math.min(outer.deadline, deadline) }))

/** Sends the requests of `effect` once each, over by the deadline. */
export const once = <A, E, R>(effect: Effect.Effect<A, E, R>, deadline = Infinity): Effect.Effect<A, E, R> =>
  FiberRefs.update(effect, current, (outer) => ({
    ...outer,
    once: true,
    deadline: Math.min(outer.deadline, deadline)
  }))

/** Gives cleaning up its own time, in milliseconds: the deadline that its caller was under may be why it runs. */
export const withGrace = <A, E, R>(effect: Effect.Effect<A, E, R>, grace: number): Effect.Effect<A, E, R> =>
  FiberRefs.update(effect, current, (outer) => ({ ...outer, grace, deadline: Infinity }))

/** Sends what comes after it in its fiber with this observer. */
export const useObserver = (observer: AttemptObserver): Effect.Effect<void> =>
  FiberRefs.change(current, (outer) => ({ ...outer, observer }))

/** Sends an attempt, if it has an observer only when that wants it to be sent, and tells it when that had no effect. */
export const observe = <A>(
  send: () => Effect.Effect<A, RunPodError>,
  observer: AttemptObserver | undefined
): Effect.Effect<A, RunPodError> => {
  if (observer === undefined) return send()
  const { onRefused, onSend } = observer
  return Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(onSend, (isWanted) =>
      isWanted
        ? Effect.tapError(restore(Effect.suspend(send)), (error) =>
            provesNoEffect(error) ? onRefused(error) : Effect.void
          )
        : Effect.interrupt
    )
  )
}

export const withSecrets = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  secrets: ReadonlyArray<string>
): Effect.Effect<A, E, R> =>
  secrets.length === 0
    ? effect
    : FiberRefs.update(effect, current, (outer) => ({ ...outer, secrets: [...outer.secrets, ...secrets] }))

/** What a request takes from the fiber that makes it. */
export class Caller extends Tracing {
  readonly options: RequestOptions
  /** What its metrics are tagged with besides. */
  readonly labels: Labels
  readonly tally: Tally | undefined

  constructor(fiber: RuntimeFiber<unknown, unknown>) {
    super(fiber)
    this.options = FiberRefs.valueIn(fiber, current)
    this.labels = FiberRefs.valueIn(fiber, FiberRef.currentMetricLabels)
    this.tally = FiberRefs.valueIn(fiber, currentTally)
  }
}

export const withCaller = <A, E, R>(f: (caller: Caller) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  withFiber((fiber) => f(new Caller(fiber)))
