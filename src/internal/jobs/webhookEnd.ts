import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Job from "../../schemas/Job.js"
import type { JobId } from "../../schemas/JobId.js"
import type { Service as Webhooks } from "../../services/Webhooks.js"
import { refuse } from "../http/arguments.js"
import { visible } from "../text/visible.js"

/**
 * Completes when a webhook says that the job has ended: with `undefined` the wait asks RunPod whether it is so, a job is taken
 * as its end. It never fails, may be pending for ever, and is interruptible.
 */
export type Ended = Effect.Effect<Job.TerminalJob | undefined>

/** How long the webhook of a submit whose reply was lost is waited for. */
export const adoptWithin = "15 minutes"
/** A URL outlives its job by this, in milliseconds. */
const grace = 3_600_000

/** Listens for the end of a job as its webhook tells it. */
export const make = (webhooks: Webhooks, endpointId: string, jobId: string) => {
  let after = 0
  let isRetried = false
  return {
    /** For one wait. */
    ended: (trustWebhook: boolean): Ended =>
      Effect.suspend(() => webhooks.next({ endpointId, jobId, after })).pipe(
        // After a retry, a delivery may still be the late one of the run before.
        Effect.map(({ job }) => (trustWebhook && !isRetried && Job.isTerminal(job) ? job : undefined)),
        Effect.catchAll((error) =>
          Effect.zipRight(
            Effect.logWarning(
              visible(`The webhook of job ${jobId} is not waited for, polls have to do: ${error.message}`)
            ),
            Effect.never
          )
        )
      ),
    /** The job is about to run again: deliveries so far are of its earlier run, and later ones are no longer trusted. */
    forget: Effect.suspend(() => {
      isRetried = true
      return Effect.ignore(Effect.map(webhooks.latest, (latest) => (after = latest)))
    })
  }
}

export type WebhookEnd = ReturnType<typeof make>

/** Issues a URL for one submit of a job that is kept for `ttl` milliseconds, under a key of its own. */
export const issue = Effect.fnUntraced(function* (
  webhooks: Webhooks,
  endpointId: string,
  { ttl, url }: { readonly ttl: number | undefined; readonly url: string | URL | undefined }
) {
  if (url !== undefined && new URL(url).searchParams.has("token")) {
    const detail = "the `webhook` has a `token` in its query, where the receiver looks for its own: rename or remove it"
    return yield* refuse("run", detail)
  }
  const [now, first, second] = [yield* Clock.currentTimeMillis, yield* Random.next, yield* Random.next]
  const key = [now, first * 2 ** 52, second * 2 ** 52].map((part) => part.toString(36)).join("-")
  const expiresIn = ttl === undefined ? undefined : Duration.millis(ttl + grace)
  return { key, url: yield* webhooks.issue({ endpointId, key, expiresIn, url }) }
})

/** The job of a submit whose reply was lost, by the webhook issued under this key; `undefined` when none comes in time. */
export const adopt = (
  webhooks: Webhooks,
  { endpointId, key, within }: { readonly endpointId: string; readonly key: string; readonly within: number }
): Effect.Effect<JobId | undefined> =>
  webhooks.next({ endpointId, key }).pipe(
    Effect.map(({ job }) => job.id),
    Effect.catchAll((error) =>
      Effect.as(Effect.logWarning(`A submit whose fate is unknown is not waited for: ${error.message}`), undefined)
    ),
    Effect.timeoutOption(within),
    Effect.map(Option.getOrUndefined),
    Effect.onInterrupt(() =>
      Effect.logWarning(`A submit on endpoint ${endpointId} was given up, and its fate is unknown: a job may go on`)
    )
  )

export const missing = (operation: "run" | "status") =>
  refuse(operation, "`webhook: true` needs the Webhooks service, and none is provided")
