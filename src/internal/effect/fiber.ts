/** What is done with a fiber beside `Fiber.await` and `Fiber.interrupt`: reading and ending it without an effect. */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"

export type RuntimeFiber<A, E = never> = Fiber.RuntimeFiber<A, E>

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export const withFiber: <A, E = never, R = never>(
  f: (fiber: RuntimeFiber<A, E>) => Effect.Effect<A, E, R>
) => Effect.Effect<A, E, R> = Effect.withFiberRuntime

export const exitOf = <A, E>(fiber: RuntimeFiber<A, E>): Exit.Exit<A, E> | undefined => fiber.unsafePoll() ?? undefined

export const isRunning = (fiber: RuntimeFiber<unknown, unknown>): boolean => fiber.unsafePoll() === null

/** Interrupts a fiber that runs, without waiting for its end. */
export const interruptLater = (fiber: RuntimeFiber<unknown, unknown>): void => {
  if (isRunning(fiber)) fiber.unsafeInterruptAsFork(FiberId.none)
}

/** Runs `f` when a fiber ends, at once when it has ended. */
export const onEnd = <A, E>(fiber: RuntimeFiber<A, E>, f: (exit: Exit.Exit<A, E>) => void): void => fiber.addObserver(f)

/** `Fiber.await` in two steps instead of eight, for what each submit goes through: an interruption leaves the observer with the fiber. */
export const awaitEnd = <A, E>(fiber: RuntimeFiber<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.async((resume) => onEnd(fiber, (exit) => resume(Effect.succeed(exit))))

/** What this effect runs with, for servers that start effects with it. */
export const runtime: <R>() => Effect.Effect<Runtime.Runtime<R>, never, R> = Effect.runtime

/** A function that starts effects on fibers of their own, with what this effect runs with. */
export const fork: Effect.Effect<<A, E>(effect: Effect.Effect<A, E>) => RuntimeFiber<A, E>> = Effect.map(
  runtime(),
  (current) => Runtime.runFork(current)
)

export const promise: Effect.Effect<<A, E>(effect: Effect.Effect<A, E>) => Promise<A>> = Effect.map(
  runtime(),
  (current) => Runtime.runPromise(current)
)
