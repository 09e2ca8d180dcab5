/**
 * What RunPod posts to a webhook when a job ends.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { defined } from "../internal/text/json.js"
import { Json, replySchema } from "../internal/text/reply.js"
import * as Job from "./Job.js"

/**
 * A delivery: the job as `/status` gives it, its `input` echoed, the echoed `webhook` wrapped in `job.raw`. Deliveries are
 * not signed, and can come twice or never: a hint, not a proof.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebhookEvent {
  readonly job: Job.Job
  /** The job's input, when it was echoed. */
  readonly input?: unknown
}

/**
 * Reads the JSON of a delivery. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromBody = (body: unknown): Either.Either<WebhookEvent, string> =>
  Either.map(Job.fromNamedReply(body), (job) => ({ job, ...defined({ input: job.raw["input"] }) }))

/**
 * @since 0.1.0
 * @category schemas
 */
export const WebhookEvent: Schema.Schema<WebhookEvent, unknown> = /* @__PURE__ */ replySchema(() => ({
  identifier: "WebhookEvent",
  description: "the job that has ended and its input, as RunPod posts them to a webhook",
  wire: Schema.encodedSchema(Job.Job),
  type: Schema.Struct({ job: Schema.typeSchema(Job.Job), input: Schema.optional(Json) }),
  read: fromBody,
  body: (event) => Job.toBody(event.job)
}))
