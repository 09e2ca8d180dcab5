import { identity } from "effect/Function"
import type { Context, RunPodError } from "../../errors/RunPodError.js"
import type { RequestBase } from "../../layers/RunPodHttpClient.js"
import { type Limiter, noPermit, type Permit, type Wait } from "../pace/limiter.js"
import type { OperationMeters } from "../telemetry/instruments.js"
import * as Tally from "../telemetry/tally.js"
import { errorTypeOf, unseen } from "../telemetry/tracing.js"
import type { Scrub } from "../text/scrub.js"
import type { Caller, RequestOptions } from "./requestOptions.js"

/** What a held request gets on top of its hold, in milliseconds. */
const holdGrace = 10_000

/** How long the body of an answer that is read whole may stand still, in milliseconds. */
const usualBodyTimeout = 5_000

/** How long the retries of a cancel may wait for our own windows in all, in milliseconds. */
const longestLine = 120_000

/** What the steps of the pipe ask of a request, whatever becomes of its answer. */
export interface Sent extends RequestBase {
  /** How long the server may hold the answer, in milliseconds. */
  readonly hold?: number | undefined
  /** How long an attempt may take until its headers, in milliseconds. Default: that of the layer, or of the hold. */
  readonly headersTimeout?: number | undefined
  /** How long the body of its answer may stand still, in milliseconds. Default: 5 seconds. */
  readonly idleTimeout?: number | undefined
}

/** The paths of operations taken apart: texts, and names of parameters, by turns. Gone with the operation. */
const known = new WeakMap<Sent["operation"], ReadonlyArray<string>>()

/** Puts parameters into a path such as `/{endpointId}/status/{jobId}`, percent-encoded. */
const fillPath = ({ operation, params }: Sent): string => {
  let parts = known.get(operation)
  if (parts === undefined) known.set(operation, (parts = operation.path.split(/[{}]/)))
  let filled = ""
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i] ?? ""
    filled += i % 2 === 0 ? part : encodeURIComponent(params[part] ?? "")
  }
  return filled
}

/** Where the errors of a request say they are from. */
export class Where implements Context {
  readonly operation: string
  readonly method: string
  readonly path: string
  readonly endpointId: string | undefined
  readonly jobId: string | undefined
  readonly batchId: string | undefined

  constructor(
    request: Sent,
    readonly attempt = 1
  ) {
    const { operation, params } = request
    this.operation = operation.name
    this.method = operation.method
    this.path = fillPath(request)
    this.endpointId = params["endpointId"]
    this.jobId = params["jobId"]
    this.batchId = params["batchId"]
  }
}

/** What all requests of an operation on one endpoint share. */
export interface Lane {
  readonly limiter: Limiter
  readonly meters: OperationMeters
  /** How long an attempt that is not held may take until its headers, in milliseconds. */
  readonly requestTimeout: number
}

/** Why an attempt fails that was not sent, since what its observer said of it is too old. */
export const keptTooLong = "it was kept for too long before it could leave"

/** How far a request has come: state of one execution, touched only by its fiber. It tells metrics, span and job of its attempts. */
export class Execution<out Q extends Sent = Sent> {
  readonly options: RequestOptions
  readonly limiter: Limiter
  private readonly meters: OperationMeters
  /** That of the current attempt, when it has one. */
  permit: Permit = noPermit
  span = unseen
  /** Strikes out what nobody may see. */
  scrub: Scrub = identity
  /** How long an attempt may take until its headers, in milliseconds. */
  readonly headersTimeout: number
  /** How long the body of its answer may stand still while it is the attempt's, in milliseconds. */
  readonly bodyTimeout: number
  /** The attempt that is under way, where its transport has no fiber of its own. */
  current: { readonly giveUp: () => void } | undefined
  /** When it is given up, on the monotonic clock: by its caller, or at the end of its grace. */
  deadline: number
  /** When its grace ends at the latest, however much of it waiting in line takes. */
  private latest = Infinity

  constructor(
    readonly request: Q,
    /** Where the errors of the current attempt say they are from. */
    public where: Context,
    private readonly caller: Caller,
    { limiter, meters, requestTimeout }: Lane
  ) {
    const { deadline, grace } = caller.options
    this.options = caller.options
    this.limiter = limiter
    this.meters = meters
    this.deadline = deadline
    const { hold = request.operation.hold } = request
    if (request.headersTimeout !== undefined) this.headersTimeout = request.headersTimeout
    else if (hold !== undefined) this.headersTimeout = hold + holdGrace
    // Within a grace there must be time for a second attempt.
    else this.headersTimeout = grace === undefined ? requestTimeout : Math.min(requestTimeout, grace / 2)
    this.bodyTimeout = request.idleTimeout ?? Math.min(this.headersTimeout, usualBodyTimeout)
  }

  get isStale(): boolean {
    return this.options.observer?.isStale?.() === true
  }

  get attempt(): number {
    return this.where.attempt ?? 1
  }

  /** The attempt has failed, and is made again. */
  nextAttempt(error: RunPodError): void {
    const { attempt, caller } = this
    this.where = { ...this.where, attempt: attempt + 1 }
    this.meters.retries.unsafeUpdate(1, caller.labels)
    Tally.add(caller.tally, "retries")
    if (!caller.isTraced) return
    this.span.attribute("http.request.resend_count", attempt)
    this.tell("retry", { "error.type": errorTypeOf(error), "http.request.resend_count": attempt })
  }

  /** It may be sent, for which it was kept so many milliseconds. */
  onAdmitted(waited: number): void {
    const { caller } = this
    this.meters.limiterWait.unsafeUpdate(waited / 1000, caller.labels)
    if (waited >= 1 && caller.isTraced) this.tell("limiter", { "runpod.limiter_wait": waited / 1000 })
  }

  onSend(): void {
    const { caller } = this
    this.meters.requests.unsafeUpdate(1, caller.labels)
    Tally.add(caller.tally, "requests")
    if (caller.isTraced) this.span.attribute("runpod.attempt", this.attempt)
  }

  /** After so many milliseconds the attempt's answer is there, with this status, or an error with this tag is in its place. */
  onEnd(status: number | string, took: number): void {
    const { caller } = this
    this.meters.duration(status).unsafeUpdate(took / 1000, caller.labels)
    if (typeof status === "number" && caller.isTraced) this.span.attribute("http.response.status_code", status)
  }

  /** RunPod has answered 429; `retryAfter` is what it asks for, in milliseconds. */
  onThrottled(retryAfter: number | undefined): void {
    const { caller } = this
    this.meters.throttles.unsafeUpdate(1, caller.labels)
    Tally.add(caller.tally, "throttles")
    if (!caller.isTraced) return
    this.tell("throttled", retryAfter === undefined ? {} : { "runpod.retry_after": retryAfter / 1000 })
  }

  /** An event of the request is one of its job, too. */
  private tell(event: string, facts: Readonly<Record<string, string | number>>): void {
    const { caller, where } = this
    this.span.event(event, caller.now(), { ...facts })
    caller.tally?.job?.event(event, { "runpod.operation": where.operation, ...facts })
  }

  /**
   * When it is given up if its permit comes now. Waiting for our own limits takes nothing of a grace, waiting for the server does; a
   * server that answers with errors alone ends that after two minutes.
   */
  deadlineAfter(wait: Wait, now: number): number {
    const { deadline, grace } = this.options
    if (grace === undefined) return deadline
    const end = this.attempt === 1 ? wait.since + grace : this.deadline
    return Math.min(deadline, end + this.limiter.ownWait(wait, now), this.latest)
  }

  onPermit(permit: Permit, now: number, deadline: number): void {
    this.permit = permit
    this.deadline = deadline
    this.latest = Math.min(this.latest, now + (this.options.grace ?? Infinity) + longestLine)
  }
}
