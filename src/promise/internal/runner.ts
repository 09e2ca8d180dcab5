import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { hasProperty } from "effect/Predicate"
import * as Stream from "effect/Stream"
import { isInterruption, original, squash } from "../../internal/effect/cause.js"
import { interruptLater, onEnd, type RuntimeFiber } from "../../internal/effect/fiber.js"

const closedError = () => new DOMException("The client of effect-runpod was closed", "AbortError")

const isSignal = (signal: unknown): boolean =>
  hasProperty(signal, "aborted") &&
  hasProperty(signal, "addEventListener") &&
  hasProperty(signal, "removeEventListener")

/** The error itself; in place of one that is none, such as a `ConfigError` of Effect, an `Error` that says the same. */
const errorOf = (failure: unknown): unknown => {
  const error = original(failure)
  return ConfigError.isConfigError(error) ? new Error(String(error), { cause: error }) : error
}

/** Runs effects and streams for programs that know promises and signals. Its layer is built with the first of them. */
export class Runner<R> {
  private readonly runtime: ManagedRuntime.ManagedRuntime<R, unknown>
  private readonly running = new Set<RuntimeFiber<unknown, unknown>>()
  private closed: Promise<void> | undefined

  constructor(layer: Layer.Layer<R, unknown>) {
    this.runtime = ManagedRuntime.make(layer)
  }

  /** An abort interrupts the effect; the promise is rejected with the signal's reason once it has ended, its cancels sent. */
  run<A>(effect: Effect.Effect<A, unknown, R>, signal?: AbortSignal): Promise<A> {
    return new Promise<A>((resolve, reject) => {
      // In plain JavaScript it can be anything, and nothing may be started that cannot be aborted.
      if (signal !== undefined && !isSignal(signal)) throw new TypeError("`signal` must be an AbortSignal")
      const interrupted = (): unknown => (signal?.aborted === true ? signal.reason : closedError())
      if (signal?.aborted === true || this.closed !== undefined) {
        reject(interrupted())
        return
      }
      const fiber = this.runtime.runFork(effect)
      const onAbort = () => interruptLater(fiber)
      this.running.add(fiber)
      signal?.addEventListener("abort", onAbort)
      onEnd(fiber, (exit) => {
        this.running.delete(fiber)
        signal?.removeEventListener("abort", onAbort)
        if (Exit.isSuccess(exit)) resolve(exit.value)
        else reject(isInterruption(exit.cause) ? interrupted() : errorOf(squash(exit.cause)))
      })
    })
  }

  iterate<A>(stream: Stream.Stream<A, unknown, R>, signal?: AbortSignal): AsyncIterableIterator<A> {
    return new Iteration(this, stream, signal)
  }

  /** Interrupts what runs, waits for its cancels, and closes the layer. */
  close(): Promise<void> {
    this.closed ??= this.end()
    return this.closed
  }

  private async end(): Promise<void> {
    const ends = [...this.running].map((fiber) => {
      interruptLater(fiber)
      return new Promise<unknown>((resolve) => onEnd(fiber, resolve))
    })
    await Promise.all(ends)
    await this.runtime.dispose()
  }
}

interface Asked<A> {
  readonly resolve: (result: IteratorResult<A, undefined>) => void
  readonly reject: (error: unknown) => void
}

/** One run of a stream, from the first `next` on. It takes a value from the stream only when one is asked for. */
class Iteration<A, R> implements AsyncIterableIterator<A> {
  private readonly controller = new AbortController()
  private readonly asked: Array<Asked<A>> = []
  /** Lets the stream go on, which waits for the next to be asked for. */
  private goOn: (() => void) | undefined
  private ended: Promise<void> | undefined
  private state: "Open" | "Left" | "Ended" = "Open"
  /** Why the stream failed while nobody asked. */
  private failure: { readonly error: unknown } | undefined

  constructor(
    private readonly runner: Runner<R>,
    private readonly stream: Stream.Stream<A, unknown, R>,
    private readonly signal: AbortSignal | undefined
  ) {}

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<A, undefined>> {
    return new Promise((resolve, reject) => {
      if (this.state !== "Open") {
        const { failure } = this
        this.failure = undefined
        if (failure === undefined) resolve({ done: true, value: undefined })
        else reject(failure.error)
        return
      }
      this.asked.push({ resolve, reject })
      this.ended ??= this.start()
      this.goOn?.()
    })
  }

  /** Ends the stream, as `break` does, and waits for its cancels. */
  async return(): Promise<IteratorResult<A, undefined>> {
    if (this.state === "Open") this.state = "Left"
    this.controller.abort()
    await this.ended
    return { done: true, value: undefined }
  }

  private start(): Promise<void> {
    const { controller, signal } = this
    const onAbort = () => controller.abort(signal?.reason)
    if (signal?.aborted === true) onAbort()
    signal?.addEventListener("abort", onAbort)
    const end = (failure: { readonly error: unknown } | undefined) => {
      signal?.removeEventListener("abort", onAbort)
      // Who has left is not told how it ended.
      this.failure = this.state === "Left" ? undefined : failure
      this.state = "Ended"
      for (const { reject, resolve } of this.asked.splice(0)) {
        const { failure } = this
        this.failure = undefined
        if (failure === undefined) resolve({ done: true, value: undefined })
        else reject(failure.error)
      }
    }
    const given = Stream.runForEach(this.stream, (value) => this.give(value))
    return this.runner.run(given, controller.signal).then(
      () => end(undefined),
      (error: unknown) => end({ error })
    )
  }

  private give(value: A): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      this.goOn = () => {
        this.goOn = undefined
        resume(Effect.void)
      }
      this.asked.shift()?.resolve({ done: false, value })
      if (this.asked.length > 0) this.goOn()
    })
  }
}
