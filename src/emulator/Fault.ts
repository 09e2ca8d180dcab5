/**
 * What can go wrong between a client and RunPod, as data: for the emulator's options, or to switch while it runs.
 *
 * @since 0.1.0
 */
import type * as Models from "./faultModels.js"

/**
 * @since 0.1.0
 * @category models
 */
export type * from "./faultModels.js"

// Not `Data.taggedEnum`: its constructors want an object even where every field is optional.
const optional =
  <F extends Models.Fault>(_tag: F["_tag"]) =>
  (options?: Omit<F, "_tag">): F =>
    ({ _tag, ...options }) as F

const required: <F extends Models.Fault>(_tag: F["_tag"]) => (options: Omit<F, "_tag">) => F = optional

/**
 * HTTP 429, with or without `Retry-After`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const rateLimited = optional<Models.RateLimited>("RateLimited")

/**
 * HTTP 503 or another error status, with a body of JSON, HTML, text or none.
 *
 * @since 0.1.0
 * @category constructors
 */
export const serverError = optional<Models.ServerError>("ServerError")

/**
 * HTML on HTTP 200.
 *
 * @since 0.1.0
 * @category constructors
 */
export const htmlOk = optional<Models.HtmlOk>("HtmlOk")

/**
 * Nothing on HTTP 200.
 *
 * @since 0.1.0
 * @category constructors
 */
export const emptyOk = optional<Models.EmptyOk>("EmptyOk")

/**
 * A connection that is not made.
 *
 * @since 0.1.0
 * @category constructors
 */
export const refused = optional<Models.Refused>("Refused")

/**
 * A reset before the request is looked at.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resetBefore = optional<Models.ResetBefore>("ResetBefore")

/**
 * A reset after the request was acted on.
 *
 * @since 0.1.0
 * @category constructors
 */
export const resetAfter = optional<Models.ResetAfter>("ResetAfter")

/**
 * An answer that stops in the middle and never ends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stall = optional<Models.Stall>("Stall")

/**
 * No answer, ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hang = optional<Models.Hang>("Hang")

/**
 * Half of the JSON in a complete response.
 *
 * @since 0.1.0
 * @category constructors
 */
export const truncated = optional<Models.Truncated>("Truncated")

/**
 * A connection that closes in the middle of the body.
 *
 * @since 0.1.0
 * @category constructors
 */
export const cutBody = optional<Models.CutBody>("CutBody")

/**
 * A job that cannot be seen while it is young.
 *
 * @since 0.1.0
 * @category constructors
 */
export const notVisibleYet = required<Models.NotVisibleYet>("NotVisibleYet")

/**
 * An endpoint that refuses submits as paused.
 *
 * @since 0.1.0
 * @category constructors
 */
export const paused = optional<Models.Paused>("Paused")

/**
 * A late answer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const delay = required<Models.Delay>("Delay")

/**
 * A job that completes without output.
 *
 * @since 0.1.0
 * @category constructors
 */
export const outputMissing = optional<Models.OutputMissing>("OutputMissing")

/**
 * A finished job that stays IN_PROGRESS for ever.
 *
 * @since 0.1.0
 * @category constructors
 */
export const lateProgress = optional<Models.LateProgress>("LateProgress")

/**
 * A webhook that never comes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookLost = optional<Models.WebhookLost>("WebhookLost")

/**
 * A webhook that comes twice, or more often.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookDuplicated = optional<Models.WebhookDuplicated>("WebhookDuplicated")

/**
 * A webhook that comes late.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookLate = required<Models.WebhookLate>("WebhookLate")

/**
 * A webhook that comes after those of jobs that ended later.
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhookOutOfOrder = optional<Models.WebhookOutOfOrder>("WebhookOutOfOrder")
