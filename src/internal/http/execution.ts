import * as Duration from "effect/Duration"
import type * as Tracer from "effect/Tracer"
import { type Context, RequestTimeoutError } from "../../errors/RunPodError.js"
import type { AttemptObserver, Request } from "../../layers/RunPodHttpClient.js"
import type { Limiter, Permit } from "../pace/limiter.js"
import type { Scrub } from "../text/scrub.js"
import { fillPath } from "./path.js"
import type { RequestOptions } from "./requestOptions.js"

/** What a held request gets on top of its hold, in milliseconds. */
const holdGrace = 10_000

/** Where the errors of a request say they are from. */
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

/** What an execution keeps to. */
interface Settings {
  readonly options: RequestOptions
  /** How long an attempt that is not held may take until its headers, in milliseconds. */
  readonly requestTimeout: number
  readonly scrub: Scrub
  readonly limiter: Limiter
}

/** How far a request has come: state of one execution, touched only by its fiber. */
export class Execution<out A> {
  readonly scrub: Scrub
  readonly limiter: Limiter
  /** The permit of the current attempt, when it has one. */
  permit: Permit = 0
  /** How long an attempt may take until its headers, in milliseconds. */
  readonly headersTimeout: number
  /** The attempt that is under way, where its transport has no fiber of its own. */
  current: { readonly giveUp: () => void } | undefined
  /** What its effects say about it. */
  readonly once: boolean
  readonly grace: number | undefined
  readonly observer: AttemptObserver | undefined
  /** When its caller gives up on it, on the monotonic clock. */
  readonly callerDeadline: number
  /** When it is given up: by its caller, or at the end of its grace. */
  deadline: number

  constructor(
    readonly request: Request<A>,
    /** Where the errors of the current attempt say they are from. */
    public where: Context,
    readonly span: Tracer.Span,
    { limiter, options, requestTimeout, scrub }: Settings
  ) {
    this.scrub = scrub
    this.limiter = limiter
    this.once = options.once
    this.grace = options.grace
    this.observer = options.observer
    this.callerDeadline = options.deadline
    this.deadline = options.deadline
    const { hold = request.operation.hold } = request
    if (hold !== undefined) this.headersTimeout = hold + holdGrace
    // Within a grace there must be time for a second attempt.
    else this.headersTimeout = this.grace === undefined ? requestTimeout : Math.min(requestTimeout, this.grace / 2)
  }

  /** The number of the current attempt, from 1. */
  get attempt(): number {
    return this.where.attempt ?? 1
  }

  nextAttempt(): void {
    this.where = { ...this.where, attempt: this.attempt + 1 }
  }

  /** Gives up what is under way when the fiber of the request is interrupted. */
  interrupt(): void {
    this.current?.giveUp()
  }

  /** It has its permit: from the first one on its grace counts, less the waiting for others. */
  onPermit(now: number, waited: number): void {
    if (this.grace === undefined) return
    const end = this.attempt === 1 ? now + this.grace : this.deadline + waited
    this.deadline = Math.min(this.callerDeadline, end)
  }

  /** What it fails with when its deadline came before it was sent. */
  tooLate(millis: number): RequestTimeoutError {
    return new RequestTimeoutError({ ...this.where, sent: "No", phase: "Headers", timeout: Duration.millis(millis) })
  }
}
