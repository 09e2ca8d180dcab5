import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { type Context, type RunPodError, SubmitAmbiguousError } from "../../errors/RunPodError.js"
import type { AttemptObserver } from "../../layers/RunPodHttpClient.js"
import type { JobHandle } from "../../services/JobHandle.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import * as Causes from "../effect/cause.js"
import { awaitEnd, interruptLater, type Restore, type RuntimeFiber, withFiber } from "../effect/fiber.js"
import * as FiberRefs from "../effect/fiberRef.js"
import { observe, useObserver } from "../http/requestOptions.js"
import { admitDoubt } from "../http/retry.js"
import { record } from "../telemetry/record.js"

/** How a submit ended. `attempts` counts those that may have started something. */
export type Submitted<A> =
  | { readonly _tag: "Accepted"; readonly value: A; readonly attempts: number }
  /** Nothing was started. */
  | { readonly _tag: "Refused"; readonly error: RunPodError; readonly attempts: number }
  /** Something may have been started. */
  | { readonly _tag: "Ambiguous"; readonly error: SubmitAmbiguousError; readonly attempts: number }
  /** Nothing was sent: `beforeSend` said so, or the owner left before. */
  | { readonly _tag: "Withdrawn" }

export interface Options<A> {
  /** One operation that starts something which costs money. It may be that of a service that is not ours. */
  readonly send: Effect.Effect<A, RunPodError>
  /** Whether our pipeline sends it, and asks and tells about each attempt; otherwise all of `send` is one. Default: true. */
  readonly isObserved?: boolean | undefined
  /** For the error of a submit that was sent and left before its answer came. */
  readonly where: Context
  /** Runs, uninterruptibly, before each attempt is handed to the transport; `false` withdraws the submit. */
  readonly beforeSend?: Effect.Effect<boolean> | undefined
  /** Whether what `beforeSend` has said is too old to be acted on: what has not left by then fails as not sent. */
  readonly isStale?: (() => boolean) | undefined
  /** Runs, uninterruptibly, when an attempt that `beforeSend` let through has started nothing; one before it may have. */
  readonly onRefused?: Effect.Effect<void> | undefined
  /** Starts what has to be done after its owner has left, so that closing the layer waits for it. */
  readonly fork: JobRuntime["fork"]
}

/** A submit on a fiber of its own: it goes on when its owner is interrupted. */
export interface Submission<A> {
  /** Interrupting the wait for its end does nothing to the submit. */
  readonly end: Effect.Effect<Submitted<A>>
  /** Ends it unless it was sent; what was sent is not sent again. */
  readonly withdraw: () => void
  /** Whether it is certain that it has started nothing so far, and why its last attempt did not. */
  readonly unsent: () => { readonly lastError: RunPodError | undefined } | undefined
  /** Withdraws; then waits for the end, at most its attempt's deadline, and until `onLeft` has dealt with it. */
  readonly leave: (onLeft: (submitted: Submitted<A>) => Effect.Effect<void>) => Effect.Effect<void>
}

class State {
  /**
   * `Unseen`: our pipeline has not got it yet, or never will (a decorator that answers by itself). `Waiting`: it waits for its
   * first or next attempt. `Sent`: an attempt was handed to the transport, and its answer is not known.
   */
  phase: "Unseen" | "Waiting" | "Sent" = "Unseen"
  /** The answer to an earlier attempt was lost. */
  isDoubtful = false
  isLeft = false
  attempts = 0
  lastError: RunPodError | undefined
  isCounted = false
}

/** Asks and tells about the attempts of a submit, and keeps its state. */
const observerOf = (
  state: State,
  { beforeSend = Effect.succeed(true), isStale, onRefused = Effect.void }: Options<unknown>
): AttemptObserver => ({
  onQueued: () => {
    if (state.phase === "Sent") state.isDoubtful = true
    state.phase = "Waiting"
    return !state.isLeft
  },
  onSend: Effect.suspend(() =>
    state.isLeft
      ? Effect.succeed(false)
      : Effect.flatMap(beforeSend, (isWanted) => {
          if (!isWanted) return Effect.succeed(false)
          if (state.isLeft) return Effect.as(onRefused, false)
          state.phase = "Sent"
          state.attempts++
          return Effect.succeed(true)
        })
  ),
  isStale,
  onRefused: (error) =>
    Effect.suspend(() => {
      state.phase = "Waiting"
      state.attempts--
      state.lastError = error
      return onRefused
    })
})

/** A defect is that of the submit. */
const toSubmitted = <A>(exit: Exit.Exit<A, RunPodError>, state: State, where: Context): Exit.Exit<Submitted<A>> => {
  const attempts = Math.max(1, state.attempts)
  if (Exit.isSuccess(exit)) return Exit.succeed({ _tag: "Accepted", value: exit.value, attempts })
  if (Causes.isInterruption(exit.cause)) {
    if (!state.isDoubtful && state.phase !== "Sent") return Exit.succeed({ _tag: "Withdrawn" })
    return Exit.succeed({ _tag: "Ambiguous", error: new SubmitAmbiguousError(where), attempts })
  }
  const failure = Causes.failureOf(exit.cause)
  if (failure === undefined) return Exit.die(Causes.squash(exit.cause))
  const error = admitDoubt(failure, undefined)
  if (error._tag === "SubmitAmbiguousError") return Exit.succeed({ _tag: "Ambiguous", error, attempts })
  return Exit.succeed({ _tag: "Refused", error, attempts: state.attempts })
}

/** Counts what jobs were started, and in doubt, once. */
const counted = <A>(submitted: Submitted<A>, state: State, { endpointId }: Context): Effect.Effect<Submitted<A>> => {
  const { _tag } = submitted
  const isCounted = state.isCounted || endpointId === undefined
  state.isCounted = true
  if (isCounted || (_tag !== "Accepted" && _tag !== "Ambiguous")) return Effect.succeed(submitted)
  const recorded = record(endpointId, (meters, labels) =>
    (_tag === "Accepted" ? meters.submitted : meters.ambiguous).unsafeUpdate(1, labels)
  )
  return Effect.as(recorded, submitted)
}

export const start = <A>(options: Options<A>): Effect.Effect<Submission<A>> =>
  Effect.suspend(() => {
    const { fork, isObserved = true, send, where } = options
    const state = new State()
    const observer = observerOf(state, options)
    const observed = isObserved ? Effect.zipRight(useObserver(observer), send) : observe(() => send, observer)
    // What asks and tells about this submit is not for those that are sent for it.
    const alone = Effect.zipRight(withoutHooks, observed)
    return Effect.map(Effect.forkDaemon(Effect.interruptible(Effect.exit(alone))), (fiber) => {
      const end = Effect.flatMap(awaitEnd(fiber), (exit) => {
        const submitted = toSubmitted(Exit.flatten(exit), state, where)
        return Exit.isSuccess(submitted) ? counted(submitted.value, state, where) : submitted
      })
      const withdraw = () => {
        state.isLeft = true
        // What a decorator does before or instead of our pipeline is not known: it goes on to its end.
        if (state.phase === "Waiting") interruptLater(fiber)
      }
      return {
        end,
        withdraw,
        unsent: () => (state.phase === "Waiting" && !state.isDoubtful ? { lastError: state.lastError } : undefined),
        leave: (onLeft) =>
          Effect.suspend(() => {
            withdraw()
            return Effect.flatMap(fork(Effect.flatMap(end, onLeft)), (left) => Effect.asVoid(Fiber.await(left)))
          })
      }
    })
  })

/**
 * Submits, and waits for the end. An interruption waits, too, and gives the end to `onAbandoned`. It belongs into an
 * uninterruptible region and gets its `restore`, so that nothing comes between its end and its reader.
 */
export const run = <A>(
  options: Options<A>,
  restore: Restore,
  onAbandoned: (submitted: Submitted<A>) => Effect.Effect<void>
): Effect.Effect<Submitted<A>> =>
  Effect.flatMap(start(options), ({ end, leave }) => Effect.onInterrupt(restore(end), () => leave(onAbandoned)))

// --- what a batch has to do with the submits of its endpoint ------------------------------------------------------

/** Who is asked and told about the submits of `Endpoint.run` in an effect. */
export interface SubmitHooks {
  /** What supervises the whole effect, if anything does: a submit in it needs no supervision of its own. */
  readonly supervisor?: JobRuntime["supervise"] | undefined
  /** Gets what withdraws the submit unless it was sent. */
  readonly onStart: (withdraw: () => void) => void
  /** Runs before each attempt is sent, with the name of its webhook's URL where one was issued; `false` withdraws it. */
  readonly beforeSend: (webhookKey: string | undefined) => Effect.Effect<boolean>
  /** Whether what `beforeSend` has said is too old to be acted on: what has not left by then fails as not sent. */
  readonly isStale?: (() => boolean) | undefined
  /** Runs when an attempt that `beforeSend` let through has started nothing; one before it may have. */
  readonly onRefused: Effect.Effect<void>
  /** Gets the job that was started although its caller was interrupted meanwhile, instead of its being cancelled. */
  readonly onAbandoned: (handle: JobHandle<unknown>) => Effect.Effect<void>
}

interface Current {
  readonly hooks: SubmitHooks
  /** That of the effect that has them. */
  readonly fiber: RuntimeFiber<unknown, unknown>
}

const currentHooks = FiberRefs.make<Current | undefined>("currentSubmitHooks", undefined)

export const withHooks = <A, E, R>(
  f: (hooks: SubmitHooks | undefined, supervisor: SubmitHooks["supervisor"]) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  withFiber<A, E, R>((fiber) => {
    const current = FiberRefs.valueIn(fiber, currentHooks)
    // Another fiber may go on without the effect that is supervised.
    return f(current?.hooks, current?.fiber === fiber ? current.hooks.supervisor : undefined)
  })

const withoutHooks = FiberRefs.change(currentHooks, () => undefined)

/** Runs, in an uninterruptible region, an effect whose `Endpoint.run` asks and tells these hooks, and gives how it ends. */
export const exitWithHooks = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  hooks: SubmitHooks
): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  withFiber((fiber) =>
    Effect.zipRight(
      FiberRefs.change(currentHooks, () => ({ hooks, fiber })),
      Effect.zipLeft(Effect.exit(effect), withoutHooks)
    )
  )
