/**
 * The state of a job, as RunPod reports it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The states a job ends in.
 *
 * @since 0.1.0
 * @category models
 */
export type Terminal = "COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT"

/**
 * The states RunPod documents. `RUNNING` is documented but has not been seen on the wire.
 *
 * @since 0.1.0
 * @category models
 */
export type Known = "IN_QUEUE" | "IN_PROGRESS" | "RUNNING" | Terminal

/**
 * A status string. A string that is not `Known` is kept as it came and counts as not terminal.
 *
 * @since 0.1.0
 * @category models
 */
export type JobStatus = Known | (string & {})

/**
 * @since 0.1.0
 * @category schemas
 */
export const JobStatus: Schema.Schema<JobStatus, string> = /* @__PURE__ */ Schema.String.annotations({
  identifier: "JobStatus",
  description: "IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, TIMED_OUT, or a status unknown to this version",
  arbitrary: () => (fc) =>
    fc.oneof(fc.constantFrom("IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"), fc.string())
})

/**
 * Whether a job with this status has ended.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTerminal = (status: JobStatus): status is Terminal =>
  status === "COMPLETED" || status === "FAILED" || status === "CANCELLED" || status === "TIMED_OUT"
