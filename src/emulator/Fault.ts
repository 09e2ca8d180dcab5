/**
 * What can go wrong between a client and RunPod, as data: give them to the emulator, or switch them on and off while it
 * runs.
 *
 * @since 0.1.0
 */
import type * as Models from "./faultModels.js"

/**
 * @since 0.1.0
 * @category models
 */
export type * from "./faultModels.js"

/**
 * HTTP 429, with or without `Retry-After`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const rateLimited = (options?: Omit<Models.RateLimited, "_tag">): Models.RateLimited => ({
  _tag: "RateLimited",
  ...options
})

/**
 * HTTP 503 or another error status, with a body of JSON, HTML, text or none.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serverError = (options?: Omit<Models.ServerError, "_tag">): Models.ServerError => ({
  _tag: "ServerError",
  ...options
})

/**
 * HTML on HTTP 200.
 *
 * @since 0.1.0
 * @category constructors
 */
export const htmlOk = (options?: Omit<Models.HtmlOk, "_tag">): Models.HtmlOk => ({ _tag: "HtmlOk", ...options })

/**
 * Nothing on HTTP 200.
 *
 * @since 0.1.0
 * @category constructors
 */
export const emptyOk = (options?: Omit<Models.EmptyOk, "_tag">): Models.EmptyOk => ({ _tag: "EmptyOk", ...options })

/**
 * A reset before the request is looked at.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resetBefore = (options?: Models.Target): Models.ResetBefore => ({ _tag: "ResetBefore", ...options })

/**
 * A reset after the request was acted on.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resetAfter = (options?: Models.Target): Models.ResetAfter => ({ _tag: "ResetAfter", ...options })

/**
 * An answer that stops in the middle and never ends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stall = (options?: Omit<Models.Stall, "_tag">): Models.Stall => ({ _tag: "Stall", ...options })

/**
 * No answer, ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hang = (options?: Omit<Models.Hang, "_tag">): Models.Hang => ({ _tag: "Hang", ...options })

/**
 * Half of the JSON in a complete response.
 *
 * @since 0.1.0
 * @category constructors
 */
export const truncated = (options?: Models.Target): Models.Truncated => ({ _tag: "Truncated", ...options })

/**
 * A connection that closes in the middle of the body.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cutBody = (options?: Models.Target): Models.CutBody => ({ _tag: "CutBody", ...options })

/**
 * A job that cannot be seen while it is young.
 *
 * @since 0.1.0
 * @category constructors
 */
export const notVisibleYet = (options: Omit<Models.NotVisibleYet, "_tag">): Models.NotVisibleYet => ({
  _tag: "NotVisibleYet",
  ...options
})

/**
 * An endpoint that refuses submits as paused.
 *
 * @since 0.1.0
 * @category constructors
 */
export const paused = (options?: Models.Target): Models.Paused => ({ _tag: "Paused", ...options })

/**
 * A late answer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const delay = (options: Omit<Models.Delay, "_tag">): Models.Delay => ({ _tag: "Delay", ...options })

/**
 * A job that completes without output.
 *
 * @since 0.1.0
 * @category constructors
 */
export const outputMissing = (options?: Models.Target): Models.OutputMissing => ({ _tag: "OutputMissing", ...options })

/**
 * A finished job that stays IN_PROGRESS for ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const lateProgress = (options?: Omit<Models.LateProgress, "_tag">): Models.LateProgress => ({
  _tag: "LateProgress",
  ...options
})

/**
 * A webhook that never comes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookLost = (options?: Models.Target): Models.WebhookLost => ({ _tag: "WebhookLost", ...options })

/**
 * A webhook that comes twice, or more often.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookDuplicated = (options?: Omit<Models.WebhookDuplicated, "_tag">): Models.WebhookDuplicated => ({
  _tag: "WebhookDuplicated",
  ...options
})

/**
 * A webhook that comes late.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookLate = (options: Omit<Models.WebhookLate, "_tag">): Models.WebhookLate => ({
  _tag: "WebhookLate",
  ...options
})

/**
 * A webhook that comes after those of jobs that ended later.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookOutOfOrder = (options?: Omit<Models.WebhookOutOfOrder, "_tag">): Models.WebhookOutOfOrder => ({
  _tag: "WebhookOutOfOrder",
  ...options
})
