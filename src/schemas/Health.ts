/**
 * What `/health` tells of an endpoint's queue and workers.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { defined, describeJson, isJsonObject, numberOf } from "../internal/text/json.js"
import { Count, openStruct, RawObject, replySchema } from "../internal/text/reply.js"

/**
 * Numbers of jobs. Any may be missing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Jobs {
  readonly completed?: number | undefined
  readonly failed?: number | undefined
  readonly inProgress?: number | undefined
  readonly inQueue?: number | undefined
  readonly retried?: number | undefined
}

/**
 * Numbers of workers. Any may be missing; they overlap (`ready` counts `idle` ones again) and do not add up.
 *
 * @since 0.1.0
 * @category models
 */
export interface Workers {
  readonly idle?: number | undefined
  readonly initializing?: number | undefined
  readonly ready?: number | undefined
  readonly running?: number | undefined
  readonly throttled?: number | undefined
  readonly unhealthy?: number | undefined
}

/**
 * An endpoint's gauges. A missing number is unknown, not zero.
 *
 * @since 0.1.0
 * @category models
 */
export interface Health {
  readonly jobs: Jobs
  readonly workers: Workers
  /** The whole body as it came. */
  readonly raw: Readonly<Record<string, unknown>>
}

/**
 * Reads a reply of `/health`. `Left` says what was found instead.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromReply = (body: unknown): Either.Either<Health, string> => {
  if (!isJsonObject(body)) return Either.left(`expected the endpoint's health, got ${describeJson(body)}`)
  if (!isJsonObject(body["jobs"]) && !isJsonObject(body["workers"])) {
    return Either.left(`expected "jobs" or "workers", got neither`)
  }
  const jobs = isJsonObject(body["jobs"]) ? body["jobs"] : {}
  const workers = isJsonObject(body["workers"]) ? body["workers"] : {}
  return Either.right({
    jobs: defined({
      completed: numberOf(jobs["completed"]),
      failed: numberOf(jobs["failed"]),
      inProgress: numberOf(jobs["inProgress"]),
      inQueue: numberOf(jobs["inQueue"]),
      retried: numberOf(jobs["retried"])
    }),
    workers: defined({
      idle: numberOf(workers["idle"]),
      initializing: numberOf(workers["initializing"]),
      ready: numberOf(workers["ready"]),
      running: numberOf(workers["running"]),
      throttled: numberOf(workers["throttled"]),
      unhealthy: numberOf(workers["unhealthy"])
    }),
    raw: body
  })
}

/**
 * The schema of numbers of jobs.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Jobs = /* @__PURE__ */ Schema.Struct({
  completed: Count,
  failed: Count,
  inProgress: Count,
  inQueue: Count,
  retried: Count
})

/**
 * The schema of numbers of workers.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Workers = /* @__PURE__ */ Schema.Struct({
  idle: Count,
  initializing: Count,
  ready: Count,
  running: Count,
  throttled: Count,
  unhealthy: Count
})

/**
 * The schema of a `/health` reply, as `fromReply` reads it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Health: Schema.Schema<Health, unknown> = /* @__PURE__ */ replySchema(() => ({
  identifier: "Health",
  description: "numbers of an endpoint's jobs and workers, as /health answers",
  wire: openStruct({
    jobs: Schema.optional(openStruct(Jobs.fields)),
    workers: Schema.optional(openStruct(Workers.fields))
  }),
  type: Schema.Struct({ jobs: Jobs, workers: Workers, raw: RawObject }),
  read: fromReply,
  body: (health) => health.raw
}))
