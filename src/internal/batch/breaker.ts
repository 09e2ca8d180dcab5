/** A circuit breaker for submits: while they all end in doubt, each further one would only be one more. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import { isRetryable, provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import { WaitQueue } from "../pace/waitQueue.js"
import { pauseAfter } from "./rules.js"

/** It opens after so many in a row. Where each fifth submit fails by itself, that is one row in ten million. */
const mostInDoubt = 10

/**
 * Closed, it lets every submit through. Open, they stand in line, and only the first is sent, as a probe, after a pause that grows
 * from probe to probe. The first submit that RunPod answers for certain closes it. State is touched only synchronously.
 */
export class CircuitBreaker {
  private readonly line = new WaitQueue()
  /** How many submits have ended in doubt since one was answered for certain, and what the last of them failed with. */
  private inDoubt = 0
  private error: RunPodError | undefined
  private probes = 0
  private closed = Deferred.unsafeMake<void>(FiberId.none)

  /** Once `stopped` completes, nobody pauses any more. */
  constructor(
    private readonly endpointId: string,
    private readonly stopped: Deferred.Deferred<void>
  ) {}

  get isOpen(): boolean {
    return this.inDoubt >= mostInDoubt
  }

  /** A submit was accepted. */
  onAccepted(): void {
    if (this.isOpen) Deferred.unsafeDone(this.closed, Effect.void)
    this.inDoubt = this.probes = 0
  }

  /** A submit has failed. One that RunPod refuses for its input was answered as certainly as one that it accepts. */
  onError(error: RunPodError): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (error._tag !== "SubmitAmbiguousError") {
        if (error.status !== undefined && provesNoEffect(error) && !isRetryable(error)) this.onAccepted()
        return Effect.void
      }
      this.error = error.cause ?? error
      this.inDoubt++
      if (this.inDoubt !== mostInDoubt) return Effect.void
      this.closed = Deferred.unsafeMake<void>(FiberId.none)
      return Effect.logWarning(
        `The last ${mostInDoubt} submits on endpoint ${this.endpointId} are in doubt (${this.error._tag}). The batch submits one input at a time, with pauses, until one is answered.`
      )
    })
  }

  /** Runs a submit when it may be sent. */
  guard<A, E>(submit: (isProbe: boolean) => Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.suspend(() => (this.isOpen ? this.inLine(submit) : submit(false)))
  }

  private inLine<A, E>(submit: (isProbe: boolean) => Effect.Effect<A, E>): Effect.Effect<A, E> {
    const leave = Effect.sync(() => this.line.leave())
    return Effect.uninterruptibleMask((restore) =>
      Effect.zipRight(
        this.line.enter(restore),
        Effect.onInterrupt(restore(this.pause), () => leave)
      ).pipe(
        Effect.flatMap(() =>
          this.isOpen ? Effect.ensuring(restore(submit(true)), leave) : Effect.zipRight(leave, restore(submit(false)))
        )
      )
    )
  }

  private readonly pause = Effect.suspend(() => {
    if (!this.isOpen || this.error === undefined) return Effect.void
    const over = Effect.raceFirst(Deferred.await(this.stopped), Deferred.await(this.closed))
    return Effect.flatMap(pauseAfter(this.error, this.probes++), (pause) => Effect.timeoutOption(over, pause))
  })
}
