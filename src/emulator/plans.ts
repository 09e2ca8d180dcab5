/**
 * Jobs whose course is planned, by hand or by a recording.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type { Value } from "../schemas/FlightRecord.js"
import type { Terminal } from "../schemas/JobStatus.js"
import type { RequestFault } from "./Fault.js"

/**
 * How a job is ended by hand.
 *
 * @since 0.1.0
 * @category models
 */
export interface End {
  readonly status: Terminal
  readonly output?: unknown
  readonly error?: unknown
}

/**
 * Something a job shows so long after it was queued.
 *
 * @since 0.1.0
 * @category models
 */
export interface Planned {
  readonly after: Duration.DurationInput
  readonly value: unknown
}

/**
 * One run of a job as it was planned, whatever workers are free. All times count from when the job was queued.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunPlan {
  /** When a worker takes it. Default: never. */
  readonly startAfter?: Duration.DurationInput | undefined
  /** When it ends. Default: never. */
  readonly endAfter?: Duration.DurationInput | undefined
  /** How it ends. Default: COMPLETED without an output. */
  readonly end?: End | undefined
  /** The id of its worker. Default: any worker's. */
  readonly workerId?: string | undefined
  /** Progress updates, from its start on. Default: none. */
  readonly progress?: ReadonlyArray<Planned> | undefined
  /** Chunks of its output, from its start on. Default: none. */
  readonly chunks?: ReadonlyArray<Planned> | undefined
}

/**
 * What becomes of a submit.
 *
 * @since 0.1.0
 * @category models
 */
export interface SubmitPlan {
  /** Which input it has: the how manieth different one that comes, counting from 0; or the SHA-256 of its JSON, in hex. */
  readonly input: number | string
  /** What the client sees in place of the answer. The job is started all the same when it has `runs`. Default: nothing is wrong. */
  readonly fault?: RequestFault | undefined
  /** How late the answer is sent. Default: 0. */
  readonly delay?: Duration.DurationInput | undefined
  /** Its job: the first run, and one after each `/retry`; the last one again after more. Default: no job is started. */
  readonly runs?: ReadonlyArray<RunPlan> | undefined
  /** What goes wrong with requests about the job, before the emulator's own `faults`. Default: nothing. */
  readonly faults?: ReadonlyArray<RequestFault> | undefined
  /** How long after its submit the job is found. Default: from its submit on, as long as the endpoint keeps it. */
  readonly found?:
    | { readonly from?: Duration.DurationInput | undefined; readonly until?: Duration.DurationInput | undefined }
    | undefined
}

/**
 * How a world is made of a recording.
 *
 * @since 0.1.0
 * @category models
 */
export interface FlightOptions {
  /** The ids that the program asks for, in the order in which the recording's endpoints first appeared. Default: `e1`, `e2`, …. */
  readonly endpoints?: ReadonlyArray<string> | undefined
  /** How the input of a submit is found in the recording. Default: `ByHash` in a recording of the mode `hash`, else `InOrder`. */
  readonly inputs?: "InOrder" | "ByHash" | undefined
  /**
   * What a job gives in place of an output, error, progress update or chunk. Default: `standIn`, the recorded value, or one of its
   * shape: texts of `x`, the number 0, `true`, and fields without a name as `field1`, `field2`, ….
   */
  readonly output?:
    ((given: { readonly job: string; readonly value: Value; readonly standIn: unknown }) => unknown) | undefined
}
