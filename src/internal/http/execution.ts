import * as Duration from "effect/Duration"
import type * as Tracer from "effect/Tracer"
import { type Context, RequestTimeoutError } from "../../errors/RunPodError.js"
import type { AttemptObserver, Request } from "../../layers/RunPodHttpClient.js"
import type { Scrub } from "../text/scrub.js"
import { fillPath } from "./path.js"
import type { RequestOptions } from "./requestOptions.js"

/** What a held request gets on top of its hold, in milliseconds. */
const holdGrace = 10_000

/** Where the errors of a request say they are from. */
export const whereOf = ({ operation, params }: Request<unknown>): Context => {
  const { batchId, endpointId, jobId } = params
  const path = fillPath(operation.path, params)
  return { operation: operation.name, method: operation.method, path, endpointId, jobId, batchId }
}

/** What an execution begins with. */
interface Start<out A> {
  readonly request: Request<A>
  readonly where: Context
  readonly choices: RequestOptions
  readonly scrub: Scrub
  readonly span: Tracer.Span
}

/** How far a request has come: state of one execution, touched only by its fiber. */
export class Execution<out A> {
  readonly request: Request<A>
  readonly where: Context
  readonly scrub: Scrub
  readonly span: Tracer.Span
  /** What its effects say about it. */
  readonly once: boolean
  readonly grace: number | undefined
  readonly observer: AttemptObserver | undefined
  /** When its caller gives up on it, on the monotonic clock. */
  readonly callerDeadline: number
  /** When it is given up: by its caller, or at the end of its grace. */
  deadline: number
  /** The number of the current attempt, from 1. */
  attempt = 1

  constructor({ choices, request, scrub, span, where }: Start<A>) {
    this.request = request
    this.where = where
    this.scrub = scrub
    this.span = span
    this.once = choices.once
    this.grace = choices.grace
    this.observer = choices.observer
    this.callerDeadline = choices.deadline
    this.deadline = choices.deadline
  }

  /** Where the current attempt's errors say they are from. */
  get whereNow(): Context {
    return { ...this.where, attempt: this.attempt }
  }

  /** How long an attempt may take until its headers, in milliseconds. */
  headersTimeout(requestTimeout: number): number {
    const { hold = this.request.operation.hold } = this.request
    if (hold !== undefined) return hold + holdGrace
    // Within a grace there must be time for a second attempt.
    return this.grace === undefined ? requestTimeout : Math.min(requestTimeout, this.grace / 2)
  }

  /** It has its permit: from the first one on its grace counts, less the waiting for others. */
  onPermit(now: number, waited: number): void {
    if (this.grace === undefined) return
    const end = this.attempt === 1 ? now + this.grace : this.deadline + waited
    this.deadline = Math.min(this.callerDeadline, end)
  }

  /** What it fails with when its deadline came before it was sent. */
  tooLate(millis: number): RequestTimeoutError {
    return new RequestTimeoutError({ ...this.whereNow, sent: "No", phase: "Headers", timeout: Duration.millis(millis) })
  }
}
