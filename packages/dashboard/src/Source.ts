/**
 * Where a dashboard gets what it shows: an emulator, an endpoint of RunPod, the program itself, or the journal of a batch that any process
 * runs.
 *
 * @since 0.1.0
 */
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Cost from "effect-runpod/Cost"
import type { Fault, Service as Emulator } from "effect-runpod/Emulator"
import type * as Health from "effect-runpod/Health"
import type * as RateLimits from "effect-runpod/RateLimits"
import type * as RunPod from "effect-runpod/RunPod"
import * as JobTracer from "./internal/jobTracer.js"
import * as EmulatorSource from "./internal/sources/emulator.js"
import * as EndpointSource from "./internal/sources/endpoint.js"
import * as JournalSource from "./internal/sources/journal.js"
import * as ProcessSource from "./internal/sources/process.js"

/**
 * A job, or an item of a batch, without its input and output. Times are milliseconds: of the clock for those that end in `At`, else lengths.
 *
 * @since 0.1.0
 * @category models
 */
export interface Job {
  /** What names it in its source: the job's id, or the item's key. */
  readonly id: string
  readonly jobId?: string | undefined
  /**
   * RunPod's; or `IN_DOUBT` where nobody knows whether its submit started a job, or `RELEASED`; of the program itself, `SUBMITTING`, `REFUSED` where
   * its submit failed, or `INTERRUPTED` where the program gave up before it knew the job.
   */
  readonly status: string
  readonly createdAt?: number | undefined
  /** When its submit was answered; missing where `createdAt` is that. */
  readonly acceptedAt?: number | undefined
  readonly startedAt?: number | undefined
  readonly finishedAt?: number | undefined
  readonly delayTime?: number | undefined
  /** How much of `delayTime` its worker took to start. */
  readonly coldStart?: number | undefined
  readonly executionTime?: number | undefined
  readonly workerId?: string | undefined
  /** How often it was started again. */
  readonly retries?: number | undefined
  readonly error?: string | undefined
}

/**
 * What a source has to tell since its last reading.
 *
 * @since 0.1.0
 * @category models
 */
export interface Update {
  /** Where the next reading goes on. */
  readonly cursor: number
  /** Whether the jobs that follow are all there are. */
  readonly isReset: boolean
  readonly jobs: ReadonlyArray<Job>
  readonly removed: ReadonlyArray<string>
  /** Missing where it is not told. */
  readonly health?: Pick<Health.Health, "jobs" | "workers"> | undefined
  /** Requests since the start, and those that were answered 429. */
  readonly requests?: { readonly total: number; readonly throttled: number } | undefined
  /** Names of the faults that are switched on. Missing where there are none to switch. */
  readonly faults?: ReadonlyArray<string> | undefined
  /** Why there is nothing new, in a sentence. */
  readonly problem?: string | undefined
}

/**
 * Something that happened about a job, for its time line. Times are milliseconds: `at` of the clock.
 *
 * - `request`: a request, from its first attempt to its answer.
 * - `retry`: a request that was sent again, after one that failed.
 * - `throttled`: an answer 429, and how long nothing more was to be sent.
 * - `limiter`: a request that waited for the client's own limits.
 * - `webhook`: a webhook that was delivered.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobEvent {
  readonly kind: "request" | "retry" | "throttled" | "limiter" | "webhook"
  readonly at: number
  readonly took?: number | undefined
  readonly operation?: string | undefined
  /** Of the answer. */
  readonly status?: number | undefined
  /** The tag of the error, or the fault. */
  readonly error?: string | undefined
}

/**
 * What a person may do from the page, each only with the token. A failure is told as its text.
 *
 * @since 0.1.0
 * @category models
 */
export interface Actions {
  readonly cancel?: ((jobId: string) => Effect.Effect<void, string>) | undefined
  /** Runs a job that has failed again, as RunPod's `/retry` does. */
  readonly retry?: ((jobId: string) => Effect.Effect<void, string>) | undefined
  readonly setWorkers?: ((max: number) => Effect.Effect<void, string>) | undefined
  /** Faults by their names that can be switched on and off. */
  readonly faults?: Readonly<Record<string, Fault.Fault>> | undefined
  readonly setFaults?: ((names: ReadonlyArray<string>) => Effect.Effect<void, string>) | undefined
}

/**
 * What the page shows of one endpoint or batch. `make` one for a source of your own.
 *
 * @since 0.1.0
 * @category models
 */
export interface Source {
  /** Names it on the page and in its URL. */
  readonly name: string
  readonly kind: "emulator" | "endpoint" | "process" | "journal"
  /** The endpoint, whose metrics in this process are shown, too. */
  readonly endpointId?: string | undefined
  /** The command that goes on with the batch. */
  readonly resume?: string | undefined
  /** Rates and budget. */
  readonly cost?: Cost.Service | undefined
  /** The limits of the client that asks the endpoint in this process. Default: `RateLimits.documented`. */
  readonly limits?: RateLimits.RateLimits | undefined
  /** What is new since a cursor, 0 at first. The dashboard alone asks, one reading at a time. */
  readonly read: (cursor: number) => Effect.Effect<Update>
  /** The input and output of a job, asked for by a person with the token. */
  readonly payload?: ((id: string) => Effect.Effect<Option.Option<Payload>, string>) | undefined
  /** What happened about a job, where that is known, the oldest first. */
  readonly events?: ((id: string) => Effect.Effect<ReadonlyArray<JobEvent>>) | undefined
  readonly actions: Actions
}

/**
 * What a job was given, and what it returned.
 *
 * @since 0.1.0
 * @category models
 */
export interface Payload {
  readonly input?: unknown
  readonly output?: unknown
}

/**
 * Options of all sources.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Partial<Pick<Source, "name" | "cost" | "limits">> {}

/**
 * An endpoint of an emulator: `Emulator.Emulator`, or a server of `NodeEmulator.serve`. Only what has changed is read of it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const emulator: (emulator: Emulator, endpointId: string, options?: Options) => Source = EmulatorSource.make

/**
 * An endpoint of RunPod, by its `/health` and `/requests`, each asked every 5 seconds at most. Cancel and retry go through the client, which
 * has its own rules for what is sent again.
 *
 * @since 0.1.0
 * @category constructors
 */
export const endpoint: (runPod: RunPod.Service, endpointId: string, options?: Options) => Source = EndpointSource.make

/**
 * What the spans of this process have told of its jobs.
 *
 * @since 0.1.0
 * @category tags
 */
export class JobSpans extends Context.Tag("effect-runpod-dashboard/JobSpans")<
  JobSpans,
  {
    /** The jobs of an endpoint that have changed since a cursor, 0 at first. */
    readonly changes: (endpointId: string, after: number) => Effect.Effect<Update>
    /** What happened about a job: the newest 100 events, the oldest first. */
    readonly events: (endpointId: string, id: string) => Effect.Effect<ReadonlyArray<JobEvent>>
  }
>() {}

/**
 * Keeps what the spans of `effect-runpod` tell of jobs, beside the tracer that the program has: provide it around the layers of the client and of
 * `Webhooks`, and within that of the tracer. `kept` is how many jobs it remembers, those that
 * have changed last; default: 10,000. Spans have no inputs, outputs or messages of workers.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerJobSpans = (options: { readonly kept?: number | undefined } = {}): Layer.Layer<JobSpans> =>
  Layer.unwrapEffect(
    Effect.map(Effect.tracer, (outer) => {
      const recorder = new JobTracer.Recorder(options.kept ?? 10_000)
      return Layer.merge(
        Layer.succeed(JobSpans, {
          changes: (endpointId, after) => Effect.sync(() => recorder.changes(endpointId, after)),
          events: (endpointId, id) => Effect.sync(() => recorder.events(endpointId, id))
        }),
        Layer.setTracer(JobTracer.around(outer, recorder))
      )
    })
  )

/**
 * The jobs of this program on an endpoint, as it sees them: submitted, waited for, ended; with their requests, retries, answers 429 and waits for the
 * limits. What another process does is not in it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const process = (endpointId: string, options?: Options): Effect.Effect<Source, never, JobSpans> =>
  Effect.map(JobSpans, (spans) => ProcessSource.make(spans, endpointId, options))

/**
 * Options of `journal`.
 *
 * @since 0.1.0
 * @category models
 */
export interface JournalOptions extends Options {
  /** The command that goes on with the batch. Default: that of `effect-runpod-cli`. */
  readonly resume?: string | undefined
}

/**
 * The journal of a batch that this or another process runs. The file is looked at once a second, and read when it has changed; its lock is
 * not taken.
 *
 * @since 0.1.0
 * @category constructors
 */
export const journal: (path: string, options?: JournalOptions) => Effect.Effect<Source, never, FileSystem> =
  JournalSource.make
