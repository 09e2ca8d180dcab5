import * as Schema from "effect/Schema"
import { neverSent, refused, requestError } from "./requestError.js"

/**
 * No worker of a load-balancing endpoint took the request: none is there, or, with `workerId`, that one had no room for it. RunPod
 * waits for one before it says so, up to 2 minutes (5 for a worker that was asked for by id), and has no queue, so it had no effect.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoWorkerError extends requestError<NoWorkerError>()(
  "NoWorkerError",
  neverSent,
  {
    /** The worker that the request was for; missing when it was for any. */
    workerId: Schema.optional(Schema.String)
  },
  ({ workerId }) =>
    workerId === undefined
      ? [
          "no worker took the request, which did nothing",
          "Try again while a worker starts, or keep one running (`workers.min` of 1)."
        ]
      : [
          `worker ${workerId} did not take the request, which did nothing`,
          "Try again when it is less busy, or begin a new session."
        ]
) {}

/**
 * The worker that a session of a load-balancing endpoint is bound to is gone, and its state with it. The request had no effect.
 *
 * @since 0.1.0
 * @category errors
 */
export class WorkerGoneError extends requestError<WorkerGoneError>()(
  "WorkerGoneError",
  refused,
  { workerId: Schema.optional(Schema.String) },
  ({ workerId }) => [
    `the worker of the session${workerId === undefined ? "" : `, ${workerId},`} is gone, and the request did nothing`,
    "Begin a new session, and give it what the worker knew."
  ]
) {}
