import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { BadRequestError, type SubmitAmbiguousError } from "../../errors/RunPodError.js"
import * as Job from "../../schemas/Job.js"
import { operations } from "../../schemas/Operation.js"
import type { WaitOptions } from "../../services/WaitOptions.js"
import type { Service } from "../../services/Webhooks.js"
import { defined } from "../text/json.js"
import type { Ended } from "../jobs/waiting.js"

/** How long a submit whose fate is unknown may be settled by its webhook. */
export const adoptWithin = "15 minutes"
/** A URL outlives its job by this, in milliseconds. */
const grace = 3_600_000

/** Word of a job's end by its webhook. */
export interface Word {
  /** For one wait. */
  readonly ended: (options: Pick<WaitOptions, "trustWebhook">) => Ended
  /** The job is about to run again: what has come so far is of its earlier run, and what comes is no longer trusted. */
  readonly forget: Effect.Effect<void>
}

/** Listens for the webhook of a job. */
export const wordOf = (webhooks: Service, endpointId: string, jobId: string): Word => {
  let after = 0
  let isRetried = false
  return {
    ended: ({ trustWebhook }) =>
      Effect.suspend(() => webhooks.next({ endpointId, jobId, after })).pipe(
        Effect.map(({ job }) =>
          // After a retry it may still be the end before that, come late.
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
  word: Word | undefined,
  options: Pick<WaitOptions, "webhook" | "trustWebhook">
): Effect.Effect<Ended | undefined, BadRequestError> => {
  if (word !== undefined) return Effect.succeed(word.ended(options))
  return options.webhook === true ? Effect.fail(missing("status")) : Effect.succeed(undefined)
}

/** A URL that was issued for a submit, and the name it was issued under. */
export interface Issued {
  readonly url: URL
  readonly key: string
}

/** Issues a URL for one submit of a job that is kept for `ttl` milliseconds. */
export const issue = (
  webhooks: Service,
  endpointId: string,
  { ttl, url }: { readonly ttl: number | undefined; readonly url: string | URL | undefined }
): Effect.Effect<Issued> =>
  Effect.gen(function* () {
    const [now, first, second] = [yield* Clock.currentTimeMillis, yield* Random.next, yield* Random.next]
    const key = [now, first * 2 ** 52, second * 2 ** 52].map((part) => part.toString(36)).join("-")
    const expiresIn = ttl === undefined ? undefined : Duration.millis(ttl + grace)
    return { key, url: yield* webhooks.issue({ endpointId, key, ...defined({ expiresIn, url }) }) }
  })

/**
 * Waits for the webhook of a submit whose reply was lost, and gives what the reply would have said. The job itself is
 * then waited for as any other.
 */
export const adopt = (
  webhooks: Service,
  endpointId: string,
  key: string,
  error: SubmitAmbiguousError,
  within: Duration.Duration
): Effect.Effect<Job.Job, SubmitAmbiguousError> =>
  webhooks.next({ endpointId, key }).pipe(
    Effect.catchAll((storeError) =>
      Effect.zipRight(
        Effect.logWarning(`A submit whose fate is unknown is not waited for: ${storeError.message}`),
        Effect.fail(error)
      )
    ),
    Effect.map(({ job }): Job.Job => ({ id: job.id, status: "IN_QUEUE", raw: {} })),
    Effect.timeoutFail({ duration: within, onTimeout: () => error }),
    Effect.onInterrupt(() =>
      Effect.logWarning(`A submit on endpoint ${endpointId} was given up, and its fate is unknown: a job may go on`)
    )
  )

/** `webhook: true` without the service. */
export const missing = (operation: "run" | "status") => {
  const { method, path } = operations[operation]
  const detail = "`webhook: true` needs the Webhooks service, and none is provided"
  return new BadRequestError({ operation, method, path: `/{endpointId}/${path}`, detail })
}
