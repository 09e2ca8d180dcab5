/**
 * What `/health` tells of an endpoint's queue and workers.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import { describeJson, isJsonObject, numbersIn } from "../internal/text/json.js"
import { Count, openStruct, RawObject, replySchema } from "../internal/text/reply.js"

/**
 * Numbers of jobs. Any may be missing.
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
 * @since 0.1.0
 * @category models
 */
export interface Jobs extends Schema.Schema.Type<typeof Jobs> {}

/**
 * Numbers of workers. Any may be missing; they overlap (`ready` counts `idle` ones again) and do not add up.
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
 * @since 0.1.0
 * @category models
 */
export interface Workers extends Schema.Schema.Type<typeof Workers> {}

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
  const { jobs, workers } = body
  if (!isJsonObject(jobs) && !isJsonObject(workers)) return Either.left(`expected "jobs" or "workers", got neither`)
  return Either.right({
    jobs: numbersIn(jobs, Struct.keys(Jobs.fields)),
    workers: numbersIn(workers, Struct.keys(Workers.fields)),
    raw: body
  })
}

/**
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
  read: fromReply
}))
