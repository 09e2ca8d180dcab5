/**
 * The id of a job: an opaque string that RunPod hands out.
 *
 * @since 0.1.0
 */
import * as Brand from "effect/Brand"
import { idProblem, idSchema } from "../internal/text/identifier.js"

/**
 * A job id. Never parsed; percent-encoded when it goes into a path. Everything that takes one takes a plain string as well.
 *
 * @since 0.1.0
 * @category models
 */
export type JobId = typeof JobId.Type

/**
 * What is wrong with a value as a job id, as a clause; `undefined` when nothing is.
 *
 * @since 0.1.0
 * @category guards
 */
export const problemOf: (id: unknown) => string | undefined = idProblem

/**
 * The schema of a job id: a string of 1 to 512 characters, none of them a control character, and not `.` or `..`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const JobId = /* @__PURE__ */ idSchema("JobId", problemOf)

/**
 * The id as a `JobId` without a check: for one that RunPod gave, or that is checked where it is used.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unsafeMake: (id: string) => JobId = /* @__PURE__ */ Brand.nominal<JobId>()
