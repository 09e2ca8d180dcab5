import * as Jobs from "effect-runpod/Jobs"
import type { WatchedJob } from "effect-runpod/WaitOptions"
import * as JobError from "effect-runpod/JobError"
import * as Job from "effect-runpod/Job"
import * as RunPod from "effect-runpod/RunPod"
import * as Endpoint from "effect-runpod/Endpoint"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Client from "../shell/client.js"
import { Unsuccessful } from "../shell/errors.js"
import { Output, toJson, toStdout, toText } from "../shell/output.js"
import { Progress } from "../shell/progress.js"
import { commandOf, Stopping } from "../shell/stopping.js"
import { exitCodes } from "../spec/statuses.js"

interface JobArgs extends Client.Access {
  readonly endpoint: string
  readonly job: string
}

interface WaitArgs extends JobArgs {
  readonly timeout: Duration.Duration | undefined
}

const millis = (time: number | undefined): string => (time === undefined ? "-" : `${(time / 1000).toFixed(1)} s`)

/** A job for people, on one line, and its error or output below. */
export const describe = (job: Job.SyncJob): string => {
  const { delayTime, error, executionTime, id, output, status } = job
  const times = `queued ${millis(delayTime)}, ran ${millis(executionTime)}`
  const more = [error, output].filter((value) => value !== undefined).map(toText)
  return [`${id ?? "-"} ${status} (${times})`, ...more].join("\n")
}

/** A job as data. */
export const dataOf = (job: Job.SyncJob): Readonly<Record<string, unknown>> => Job.toBody(job)

/** Says what the end of a job means: nothing where it is COMPLETED. */
export const checkEnd = (endpointId: string, job: Job.Ended): Effect.Effect<void, Unsuccessful> => {
  if (job.status === "COMPLETED") return Effect.void
  const message = JobError.fromJob(endpointId, job, identity)?.message ?? ""
  return new Unsuccessful({ code: exitCodes.jobFailed, message })
}

/** What goes on at RunPod when a wait for a job is stopped. */
export const goesOn = (endpoint: string, job: string): ReadonlyArray<string> => [
  `Job ${job} goes on at RunPod.`,
  `  wait again: ${commandOf("watch", endpoint, job)}`,
  `  cancel it:  ${commandOf("cancel", endpoint, job)}`
]

const once = (use: (service: RunPod.Service, args: JobArgs) => ReturnType<RunPod.Service["status"]>) =>
  Effect.fnUntraced(
    function* (args: JobArgs) {
      const job = yield* use(yield* RunPod.RunPod, args)
      const output = yield* Output
      yield* output.one(dataOf(job), describe(job))
    },
    (effect, args) => Effect.provide(effect, Client.layer(args))
  )

export const status = once((runPod, { endpoint, job }) => runPod.status(endpoint, job))
export const cancel = once((runPod, { endpoint, job }) => runPod.cancel(endpoint, job))
export const retry = once((runPod, { endpoint, job }) => runPod.retry(endpoint, job))

/** Tells on stderr why a job is still in the queue. */
export const tellDiagnosis = (job: WatchedJob) =>
  Effect.flatMap(Progress, ({ update }) =>
    job.diagnosis === undefined
      ? Effect.void
      : update(
          `Job ${job.id} is in the queue: ${job.diagnosis.message}`,
          { type: "diagnosis", job: job.id, ...job.diagnosis },
          true
        )
  )

/** What the stop of a wait says, also where the wait fails while the job goes on. */
const sayingThatItGoesOn = <A, E, R>(effect: Effect.Effect<A, E, R>, { endpoint, job }: JobArgs) =>
  Effect.zipRight(
    Effect.flatMap(Stopping, ({ say }) => say(() => goesOn(endpoint, job))),
    effect
  )

const optionsOf = ({ timeout }: WaitArgs) => (timeout === undefined ? {} : { timeout })

export const watch = Effect.fnUntraced(
  function* (args: WaitArgs) {
    const { endpoint, job } = args
    const output = yield* Output
    let ended: Job.Ended | undefined
    const changes = Jobs.watch(endpoint, job, optionsOf(args)).pipe(
      Stream.tap((job) => {
        if (Job.isTerminal(job)) ended = job
        return tellDiagnosis(job)
      })
    )
    yield* output.each(changes, dataOf, (job) => `${describe(job)}\n`)
    if (ended !== undefined) yield* checkEnd(endpoint, ended)
  },
  (effect, args) => Effect.provide(sayingThatItGoesOn(effect, args), Client.layer(args))
)

/** Chunks for people: texts as they are, one after the other; anything else on a line of its own. */
const chunkText = (chunk: unknown): string => (typeof chunk === "string" ? chunk : `${toJson(chunk)}\n`)

export const stream = Effect.fnUntraced(
  function* (args: WaitArgs) {
    const output = yield* Output
    const endpoint = yield* Endpoint.make(args.endpoint, { input: Schema.Unknown, output: Schema.Unknown })
    let last = "\n"
    const chunks = endpoint
      .attach(args.job)
      .stream(optionsOf(args))
      .pipe(
        // A generator that does not aggregate has no output, and here none is asked for.
        Stream.catchTag("OutputMissingError", () => Stream.empty)
      )
    yield* output.each(chunks, identity, (chunk) => (last = chunkText(chunk)))
    if (output.format === "text" && !last.endsWith("\n")) yield* toStdout("\n")
  },
  (effect, args) => Effect.provide(sayingThatItGoesOn(effect, args), Client.layer(args))
)
