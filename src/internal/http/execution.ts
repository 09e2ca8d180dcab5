import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"
import { type Context, RateLimitedError, RequestTimeoutError, type RunPodError } from "../../errors/RunPodError.js"
import type { Request } from "../../layers/RunPodHttpClient.js"
import { matchCauseEffect } from "../effect/cause.js"
import type { Limiter, Permit } from "../pace/limiter.js"
import { nanosOf } from "../pace/monotonic.js"
import type { Timer } from "../pace/timer.js"
import type { Scrub } from "../text/scrub.js"
import type { Caller, RequestOptions } from "./requestOptions.js"

/** What a held request gets on top of its hold, in milliseconds. */
const holdGrace = 10_000

/** Paths taken apart, each once: texts, and names of parameters, by turns. */
const known = new Map<string, ReadonlyArray<string>>()

/** Puts parameters into a path such as `/{endpointId}/status/{jobId}`, percent-encoded. */
const fillPath = (path: string, params: Request<unknown>["params"]): string => {
  let parts = known.get(path)
  if (parts === undefined) known.set(path, (parts = path.split(/[{}]/)))
  let filled = ""
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i] ?? ""
    filled += i % 2 === 0 ? part : encodeURIComponent(params[part] ?? "")
  }
  return filled
}

export class Where implements Context {
  readonly operation: string
  readonly method: string
  readonly path: string
  readonly endpointId: string | undefined
  readonly jobId: string | undefined
  readonly batchId: string | undefined

  constructor(
    { operation, params }: Request<unknown>,
    readonly attempt = 1
  ) {
    this.operation = operation.name
    this.method = operation.method
    this.path = fillPath(operation.path, params)
    this.endpointId = params["endpointId"]
    this.jobId = params["jobId"]
    this.batchId = params["batchId"]
  }
}

const spanOptions: Tracer.SpanOptions = { kind: "client", captureStackTrace: false }

/** The span of a request: `Effect.useSpan` in half the steps, for what does not look at the span in its context. */
export const useRequestSpan = <A, E>(
  where: Where,
  { clock, isTimed }: Pick<Caller, "clock" | "isTimed">,
  use: (span: Tracer.Span) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.makeSpan(`RunPod.${where.operation}`, spanOptions), (span) => {
      const { batchId, endpointId, jobId } = where
      if (endpointId !== undefined) span.attribute("runpod.endpoint_id", endpointId)
      if (jobId !== undefined) span.attribute("runpod.job_id", jobId)
      if (batchId !== undefined) span.attribute("runpod.batch_id", batchId)
      const end = (exit: Exit.Exit<A, E>): Effect.Effect<A, E> => {
        if (span.status._tag !== "Ended") span.end(isTimed ? nanosOf(clock) : 0n, exit)
        return exit
      }
      return matchCauseEffect(
        restore(use(span)),
        (cause) => end(Exit.failCause(cause)),
        (value) => end(Exit.succeed(value))
      )
    })
  )

/** How far a request has come: state of one execution, touched only by its fiber. */
export class Execution<out A> {
  permit: Permit = 0
  /** How long an attempt may take until its headers, in milliseconds. */
  readonly headersTimeout: number
  /** The attempt that is under way, where its transport has no fiber of its own. */
  current: { readonly giveUp: () => void } | undefined
  /** When it is given up, on the monotonic clock: by its caller, or at the end of its grace. */
  deadline: number

  constructor(
    readonly request: Request<A>,
    /** Where the errors of the current attempt say they are from. */
    public where: Context,
    readonly span: Tracer.Span,
    readonly options: RequestOptions,
    readonly limiter: Limiter,
    readonly scrub: Scrub,
    /** How long an attempt that is not held may take until its headers, in milliseconds. */
    requestTimeout: number
  ) {
    const { deadline, grace } = options
    this.deadline = deadline
    const { hold = request.operation.hold } = request
    if (hold !== undefined) this.headersTimeout = hold + holdGrace
    // Within a grace there must be time for a second attempt.
    else this.headersTimeout = grace === undefined ? requestTimeout : Math.min(requestTimeout, grace / 2)
  }

  get attempt(): number {
    return this.where.attempt ?? 1
  }

  nextAttempt(): void {
    this.where = { ...this.where, attempt: this.attempt + 1 }
  }

  /** Runs an attempt with a permit, unless its caller gives up first or the gate opens only after that. */
  withPermit<B>(timer: Timer, attempt: () => Effect.Effect<B, RunPodError>): Effect.Effect<B, RunPodError> {
    const { limiter } = this
    const { deadline, grace } = this.options
    const onInterrupt = () => this.current?.giveUp()
    const use = (permit: Permit) => {
      this.permit = permit
      return attempt()
    }
    if (deadline === Infinity && grace === undefined) return limiter.withPermit(use, onInterrupt)
    return Effect.suspend(() => {
      const since = timer.now()
      const left = deadline - since
      const closedFor = limiter.opensAt - since
      if (closedFor > 0 && closedFor >= left) {
        return Effect.fail(new RateLimitedError({ ...this.where, retryAfter: Duration.millis(closedFor) }))
      }
      if (left <= 0) return this.tooLate(0)
      const useInTime = (permit: Permit) => {
        const now = timer.now()
        if (grace !== undefined) {
          // It counts from the first permit on, less the waiting for others.
          const end = this.attempt === 1 ? now + grace : this.deadline + (now - since)
          this.deadline = Math.min(deadline, end)
        }
        return this.deadline <= now ? this.tooLate(0) : use(permit)
      }
      return limiter.withPermit(useInTime, onInterrupt, { timer, deadline, onLate: () => this.tooLate(left) })
    })
  }

  /** The deadline came before it was sent. */
  private tooLate(millis: number): Effect.Effect<never, RequestTimeoutError> {
    return Effect.fail(
      new RequestTimeoutError({ ...this.where, sent: "No", phase: "Headers", timeout: Duration.millis(millis) })
    )
  }
}
