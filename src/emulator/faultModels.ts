/**
 * What can go wrong, as data: see `Fault.ts` for the constructors.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type { Operation } from "../schemas/Operation.js"

/**
 * What a request can ask for: an operation of the API; `openai`, the OpenAI route of a queue endpoint; or `loadBalancer`, the app of a
 * load-balancing endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export type EmulatedOperation = Operation | "openai" | "loadBalancer"

/**
 * Which requests a fault applies to; for jobs and webhooks, which submits. The first fault that applies decides what the
 * client sees: only behind a `Delay` and the faults of jobs and webhooks are more of them tried.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  /** Default: all operations the fault makes sense for. */
  readonly operations?: ReadonlyArray<EmulatedOperation> | undefined
  /** Endpoint ids. Default: all. */
  readonly endpoints?: ReadonlyArray<string> | undefined
  /** How likely it applies to a matching request, from 0 to 1, drawn from the emulator's seed. Default: 1. */
  readonly rate?: number | undefined
  /** To how many requests it applies at most. Default: no bound. */
  readonly times?: number | undefined
  /** How many matching requests are let through first. Default: 0. */
  readonly after?: number | undefined
  /** When it applies: from a time after the emulator's start on (default: 0), before another (default: no end). */
  readonly between?:
    | { readonly from?: Duration.DurationInput | undefined; readonly until?: Duration.DurationInput | undefined }
    | undefined
}

/**
 * A fault that takes the answer away. `processed` tells whether the request was acted on before.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unanswered extends Target {
  /** Act on the request (accept the job, drain the chunks), then lose the answer. Default: false. */
  readonly processed?: boolean | undefined
}

/**
 * HTTP 429 with an empty body.
 *
 * @since 0.1.0
 * @category models
 */
export interface RateLimited extends Target {
  readonly _tag: "RateLimited"
  /** The `Retry-After` header, rounded up to whole seconds. Default: none. */
  readonly retryAfter?: Duration.DurationInput | undefined
  /** How the header says it: a number of seconds or an HTTP date. Default: seconds. */
  readonly as?: "seconds" | "date" | undefined
}

/**
 * An HTTP error of the server or the gateway before it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerError extends Unanswered {
  readonly _tag: "ServerError"
  /** Default: 503. */
  readonly status?: number | undefined
  /** Default: json. */
  readonly body?: "json" | "html" | "text" | "empty" | undefined
}

/**
 * A page of HTML with HTTP 200.
 *
 * @since 0.1.0
 * @category models
 */
export interface HtmlOk extends Unanswered {
  readonly _tag: "HtmlOk"
}

/**
 * HTTP 200 with an empty body.
 *
 * @since 0.1.0
 * @category models
 */
export interface EmptyOk extends Unanswered {
  readonly _tag: "EmptyOk"
}

/**
 * The connection is refused, so that nothing was sent. A server cannot refuse one connection of many: it resets it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Refused extends Target {
  readonly _tag: "Refused"
}

/**
 * The connection is reset before the request is looked at.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResetBefore extends Target {
  readonly _tag: "ResetBefore"
}

/**
 * The request is acted on (a job is accepted, say), then the connection is reset without an answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResetAfter extends Target {
  readonly _tag: "ResetAfter"
}

/**
 * The request is acted on, the answer's headers and part of its body are sent, then nothing more, for ever.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stall extends Target {
  readonly _tag: "Stall"
  /** How many bytes of the body are sent. Default: half of them; of an answer that streams, its first piece. */
  readonly afterBytes?: number | undefined
}

/**
 * No answer at all, for ever.
 *
 * @since 0.1.0
 * @category models
 */
export interface Hang extends Unanswered {
  readonly _tag: "Hang"
}

/**
 * The request is acted on and the answer's body is cut in half, in a response that is complete as far as HTTP can tell.
 *
 * @since 0.1.0
 * @category models
 */
export interface Truncated extends Target {
  readonly _tag: "Truncated"
  /** How many bytes of the body are sent. Default: half of them; of an answer that streams, its first piece. */
  readonly afterBytes?: number | undefined
}

/**
 * The request is acted on and the connection closes after half of the body, short of its `content-length`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CutBody extends Target {
  readonly _tag: "CutBody"
  /** How many bytes of the body are sent. Default: half of them; of an answer that streams, its first piece. */
  readonly afterBytes?: number | undefined
}

/**
 * HTTP 404 `job not found` for a job that exists but is younger than `for`.
 *
 * @since 0.1.0
 * @category models
 */
export interface NotVisibleYet extends Target {
  readonly _tag: "NotVisibleYet"
  readonly for: Duration.DurationInput
}

/**
 * HTTP 409 `ENDPOINT_PAUSED`. Applies to run, runSync and the OpenAI route unless `operations` says otherwise.
 *
 * @since 0.1.0
 * @category models
 */
export interface Paused extends Target {
  readonly _tag: "Paused"
}

/**
 * The answer comes late; the request is acted on at once.
 *
 * @since 0.1.0
 * @category models
 */
export interface Delay extends Target {
  readonly _tag: "Delay"
  readonly by: Duration.DurationInput
}

/**
 * A job that completes without its output. Whether it applies is drawn when the job is submitted.
 *
 * @since 0.1.0
 * @category models
 */
export interface OutputMissing extends Target {
  readonly _tag: "OutputMissing"
}

/**
 * A late progress update overwrites a job's completion: it stays IN_PROGRESS for ever, with its `executionTime` and the
 * update as output. Whether it applies is drawn when the job is submitted.
 *
 * @since 0.1.0
 * @category models
 */
export interface LateProgress extends Target {
  readonly _tag: "LateProgress"
  /** The update. Default: the handler's last one, or `"100%"`. */
  readonly value?: unknown
}

/**
 * A webhook that is never delivered, by none of its tries.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebhookLost extends Target {
  readonly _tag: "WebhookLost"
}

/**
 * A webhook that is delivered more than once although it was acknowledged.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebhookDuplicated extends Target {
  readonly _tag: "WebhookDuplicated"
  /** How often it comes in all. Default: 2. */
  readonly copies?: number | undefined
  /** How long after one copy the next is sent. Default: 0, all at the same time. */
  readonly gap?: Duration.DurationInput | undefined
}

/**
 * A webhook that is sent some time after the job's end.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebhookLate extends Target {
  readonly _tag: "WebhookLate"
  readonly by: Duration.DurationInput
}

/**
 * A webhook that is overtaken by those of jobs that end later.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebhookOutOfOrder extends Target {
  readonly _tag: "WebhookOutOfOrder"
  /** How many overtake it. Default: 1. */
  readonly behind?: number | undefined
  /** When it is sent although too few have come. Default: 30 seconds. */
  readonly within?: Duration.DurationInput | undefined
}

/**
 * Faults of the connection and the gateway, which apply to requests.
 *
 * @since 0.1.0
 * @category models
 */
export type RequestFault =
  | RateLimited
  | ServerError
  | HtmlOk
  | EmptyOk
  | Refused
  | ResetBefore
  | ResetAfter
  | Stall
  | Hang
  | Truncated
  | CutBody
  | NotVisibleYet
  | Paused
  | Delay

/**
 * Faults of the platform, which apply to jobs.
 *
 * @since 0.1.0
 * @category models
 */
export type JobFault = OutputMissing | LateProgress

/**
 * Faults of delivery, which apply to webhooks. Whether they apply is drawn when the job ends.
 *
 * @since 0.1.0
 * @category models
 */
export type WebhookFault = WebhookLost | WebhookDuplicated | WebhookLate | WebhookOutOfOrder

/**
 * Any fault.
 *
 * @since 0.1.0
 * @category models
 */
export type Fault = RequestFault | JobFault | WebhookFault
