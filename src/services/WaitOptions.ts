/**
 * How a job is waited for. Everything that waits takes these options.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import { waitDefaults } from "../internal/jobs/waitPolicy.js"
import type * as Job from "../schemas/Job.js"
import type { QueueDiagnosis } from "../schemas/QueueDiagnosis.js"

/**
 * The pace of plain polls: the first after `initial`, then `interval` apart or, where longer, a share of the job's age.
 *
 * @since 0.1.0
 * @category models
 */
export interface PollPolicy {
  /** Default: 3 seconds. */
  readonly initial?: Duration.DurationInput | undefined
  /** Default: 6 seconds, less up to 3 % of jitter. */
  readonly interval?: Duration.DurationInput | undefined
  /** Which part of the job's age an interval may be. Default: 0.1. */
  readonly ageShare?: number | undefined
  /** The longest interval. Default: 1 minute. */
  readonly cap?: Duration.DurationInput | undefined
}

/**
 * A job as a wait sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchedJob extends Job.Job {
  /** Why it is still in the queue, when it has been there for unusually long and `/health` tells. */
  readonly diagnosis?: QueueDiagnosis | undefined
}

/**
 * The options of a wait.
 *
 * @since 0.1.0
 * @category models
 */
export interface WaitOptions<in J extends Job.Job = WatchedJob> {
  /** How long to wait in all, then `WaitTimeoutError`. Default: as long as RunPod keeps the job, its `ttl` or 24 hours. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * When to ask for the job. A `Schedule`: at once, then after each of its delays; its end is a `WaitTimeoutError`. A
   * policy: see there. Either turns holds off unless `hold` is given too. Default: holds; where none can be had, the
   * default policy, better by what earlier jobs of the endpoint took.
   */
  readonly poll?: Schedule.Schedule<unknown> | PollPolicy | undefined
  /**
   * How long RunPod may hold a request until the job has ended, or `false` for plain polls. Between 1 second, the least that
   * RunPod takes, and 4 minutes (RunPod takes 5); it is shortened when a gateway cuts it. Default: 90 seconds, RunPod's own.
   */
  readonly hold?: Duration.DurationInput | false | undefined
  /** The longest hold while progress is wanted, since a hold hides it. Default: 6 seconds, the first 2. */
  readonly progressInterval?: Duration.DurationInput | undefined
  /** Gets the job when its status, its progress output or its diagnosis has changed, and when it has ended. */
  readonly onProgress?: ((job: J) => Effect.Effect<void>) | undefined
  /** After how many times the usual time in the queue (10 seconds if unknown) to ask why. `Infinity`: never. Default: 3. */
  readonly diagnoseAfter?: number | undefined
  /**
   * Listen for the job's webhook, too: it was submitted, by whichever process, with a URL of the `Webhooks` service. Polls
   * only make up for a lost one then, 30 seconds apart. A job that was submitted with `webhook` is waited for so anyway.
   * Without the service, `true` fails with `BadRequestError`, and a URL changes nothing. Default: none.
   */
  readonly webhook?: string | URL | true | undefined
  /** Take a webhook's body for the end, without asking RunPod: who has seen the URL can claim any end. Default: false. */
  readonly trustWebhook?: boolean | undefined
  /** Whether an interruption cancels the job, and waits for that. Default: true for `call` and `runSync`, else false. */
  readonly cancelOnInterrupt?: boolean | undefined
  /** Whether the end of `timeout` cancels the job, in the background. Default: true for `call` and `runSync`, else false. */
  readonly cancelOnTimeout?: boolean | undefined
  /**
   * How long a cancel may wait for RunPod in all: for answers, between retries, and while RunPod's `Retry-After` keeps it back. Only
   * waiting for the layer's own limits does not count. A job that was not cancelled then is logged. Default: 10 seconds.
   */
  readonly cancelGrace?: Duration.DurationInput | undefined
}

/**
 * The defaults of a wait.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaults = waitDefaults
