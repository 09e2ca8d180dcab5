/**
 * What can go wrong between a client and RunPod, as data: give them to the emulator, or switch them on and off while it
 * runs.
 *
 * @since 0.1.0
 */
import type {
  CutBody,
  Delay,
  EmptyOk,
  Hang,
  HtmlOk,
  LateProgress,
  NotVisibleYet,
  OutputMissing,
  Paused,
  RateLimited,
  ResetAfter,
  ResetBefore,
  ServerError,
  Stall,
  Target,
  Truncated,
  WebhookDuplicated,
  WebhookLate,
  WebhookLost,
  WebhookOutOfOrder
} from "./faultModels.js"

/**
 * @since 0.1.0
 * @category models
 */
export type {
  CutBody,
  Delay,
  EmptyOk,
  Fault,
  Hang,
  HtmlOk,
  JobFault,
  LateProgress,
  NotVisibleYet,
  OutputMissing,
  Paused,
  RateLimited,
  RequestFault,
  ResetAfter,
  ResetBefore,
  ServerError,
  Stall,
  Target,
  Truncated,
  Unanswered,
  WebhookDuplicated,
  WebhookFault,
  WebhookLate,
  WebhookLost,
  WebhookOutOfOrder
} from "./faultModels.js"

/**
 * HTTP 429, with or without `Retry-After`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const rateLimited = (options?: Omit<RateLimited, "_tag">): RateLimited => ({ _tag: "RateLimited", ...options })

/**
 * HTTP 503 or another error status, with a body of JSON, HTML, text or none.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serverError = (options?: Omit<ServerError, "_tag">): ServerError => ({ _tag: "ServerError", ...options })

/**
 * HTML on HTTP 200.
 *
 * @since 0.1.0
 * @category constructors
 */
export const htmlOk = (options?: Omit<HtmlOk, "_tag">): HtmlOk => ({ _tag: "HtmlOk", ...options })

/**
 * Nothing on HTTP 200.
 *
 * @since 0.1.0
 * @category constructors
 */
export const emptyOk = (options?: Omit<EmptyOk, "_tag">): EmptyOk => ({ _tag: "EmptyOk", ...options })

/**
 * A reset before the request is looked at.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resetBefore = (options?: Target): ResetBefore => ({ _tag: "ResetBefore", ...options })

/**
 * A reset after the request was acted on.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resetAfter = (options?: Target): ResetAfter => ({ _tag: "ResetAfter", ...options })

/**
 * An answer that stops in the middle and never ends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stall = (options?: Omit<Stall, "_tag">): Stall => ({ _tag: "Stall", ...options })

/**
 * No answer, ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hang = (options?: Omit<Hang, "_tag">): Hang => ({ _tag: "Hang", ...options })

/**
 * Half of the JSON in a complete response.
 *
 * @since 0.1.0
 * @category constructors
 */
export const truncated = (options?: Target): Truncated => ({ _tag: "Truncated", ...options })

/**
 * A connection that closes in the middle of the body.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cutBody = (options?: Target): CutBody => ({ _tag: "CutBody", ...options })

/**
 * A job that cannot be seen while it is young.
 *
 * @since 0.1.0
 * @category constructors
 */
export const notVisibleYet = (options: Omit<NotVisibleYet, "_tag">): NotVisibleYet => ({
  _tag: "NotVisibleYet",
  ...options
})

/**
 * An endpoint that refuses submits as paused.
 *
 * @since 0.1.0
 * @category constructors
 */
export const paused = (options?: Target): Paused => ({ _tag: "Paused", ...options })

/**
 * A late answer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const delay = (options: Omit<Delay, "_tag">): Delay => ({ _tag: "Delay", ...options })

/**
 * A job that completes without output.
 *
 * @since 0.1.0
 * @category constructors
 */
export const outputMissing = (options?: Target): OutputMissing => ({ _tag: "OutputMissing", ...options })

/**
 * A finished job that stays IN_PROGRESS for ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const lateProgress = (options?: Omit<LateProgress, "_tag">): LateProgress => ({
  _tag: "LateProgress",
  ...options
})

/**
 * A webhook that never comes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookLost = (options?: Target): WebhookLost => ({ _tag: "WebhookLost", ...options })

/**
 * A webhook that comes twice, or more often.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookDuplicated = (options?: Omit<WebhookDuplicated, "_tag">): WebhookDuplicated => ({
  _tag: "WebhookDuplicated",
  ...options
})

/**
 * A webhook that comes late.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookLate = (options: Omit<WebhookLate, "_tag">): WebhookLate => ({ _tag: "WebhookLate", ...options })

/**
 * A webhook that comes after those of jobs that ended later.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookOutOfOrder = (options?: Omit<WebhookOutOfOrder, "_tag">): WebhookOutOfOrder => ({
  _tag: "WebhookOutOfOrder",
  ...options
})
