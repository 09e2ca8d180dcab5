import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import { BadRequestError } from "../../errors/RunPodError.js"
import * as Job from "../../schemas/Job.js"
import type { JobId } from "../../schemas/JobId.js"
import { operations, templateOf } from "../../schemas/Operation.js"
import type { WaitOptions } from "../../services/WaitOptions.js"
import type { Service as Webhooks } from "../../services/Webhooks.js"
import type { Ended } from "./poll.js"

/** How long the webhook of a submit whose reply was lost is waited for. */
export const adoptWithin = "15 minutes"
/** A URL outlives its job by this, in milliseconds. */
const grace = 3_600_000

/** The end of a job as its webhook tells it. */
export interface WebhookEnd {
  /** For one wait. */
  readonly ended: (options: Pick<WaitOptions, "trustWebhook">) => Ended
  /** The job is about to run again: deliveries so far are of its earlier run, and later ones are no longer trusted. */
  readonly forget: Effect.Effect<void>
}

/** Listens for the webhook of a job. */
export const make = (webhooks: Webhooks, endpointId: string, jobId: string): WebhookEnd => {
  let after = 0
  let isRetried = false
  return {
    ended: ({ trustWebhook }) =>
      Effect.suspend(() => webhooks.next({ endpointId, jobId, after })).pipe(
        Effect.map(({ job }) =>
          // After a retry, a delivery may still be the late one of the run before.
          trustWebhook === true && !isRetried && Job.isTerminal(job) ? job : undefined
        ),
        Effect.catchAll((error) =>
          Effect.zipRight(
            Effect.logWarning(`The webhook of job ${jobId} is not waited for, polls have to do: ${error.message}`),
            Effect.never
          )
        )
      ),
    forget: Effect.match(webhooks.latest, {
      onFailure: () => {
        isRetried = true
      },
      onSuccess: (latest) => {
        isRetried = true
        after = latest
      }
    })
  }
}

/** What a wait with these options listens to. */
export const listen = (
  webhookEnd: WebhookEnd | undefined,
  options: Pick<WaitOptions, "webhook" | "trustWebhook">
): Effect.Effect<Ended | undefined, BadRequestError> => {
  if (webhookEnd !== undefined) return Effect.succeed(webhookEnd.ended(options))
  return options.webhook === true ? Effect.fail(missing("status")) : Effect.succeed(undefined)
}

/** A URL that was issued for a submit, and the name it was issued under. */
export interface Issued {
  readonly url: URL
  readonly key: string
}

/** Issues a URL for one submit of a job that is kept for `ttl` milliseconds. */
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
  const issued: Issued = { key, url: yield* webhooks.issue({ endpointId, key, expiresIn, url }) }
  return issued
})

/**
 * The job of a submit whose reply was lost, when the webhook arrives whose URL was issued under this key; `undefined` when
 * none does in time.
 */
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

/** `webhook: true` without the service. */
export const missing = (operation: "run" | "status"): BadRequestError =>
  refuse(operation, "`webhook: true` needs the Webhooks service, and none is provided")

const refuse = (operation: "run" | "status", detail: string): BadRequestError =>
  new BadRequestError({ operation, method: operations[operation].method, path: templateOf(operation), detail })
