import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  BadRequestError,
  fromResponse,
  isRetryable,
  JobNotFoundError,
  provesNoEffect,
  type RunPodError
} from "../../errors/RunPodError.js"
import type { Operation, Request, Service as Client } from "../../layers/RunPodHttpClient.js"
import * as ErrorBody from "../../schemas/ErrorBody.js"
import * as Job from "../../schemas/Job.js"
import * as JobId from "../../schemas/JobId.js"
import { secretsOf } from "../../schemas/RunRequest.js"
import * as StreamChunk from "../../schemas/StreamChunk.js"
import type { Service } from "../../services/RunPod.js"
import { failureOf } from "../effect/cause.js"
import { fromEither } from "../effect/either.js"
import * as Fibers from "../effect/fiber.js"
import { checkIds, contextOf, readBody, readHold, refuse } from "../http/arguments.js"
import { useObserver, withCaller } from "../http/requestOptions.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { excerpt } from "../text/excerpt.js"
import { isJsonObject, parseJson } from "../text/json.js"

/** How long a handler may take, in milliseconds: whoever waits for it gives up before. */
const handlerTimeout = 7 * 24 * 3_600_000
/** How long after an answer that tells of no end the job is asked for again. The official server gives none. */
const betweenLooks = "1 second"
/** How many jobs that have ended are remembered for those who ask again: the server forgets each with its answer. */
const remembered = 1_000
/** RunPod's own, in milliseconds. */
const usualHold = 90_000
// What runpod-python 1.12 says, with status 200.
const unknownJob = "Job ID not found"
const noGenerator = "Stream not supported"

/** The operations that `python handler.py --rp_serve_api` serves. Source: `rp_fastapi.py` of runpod-python 1.12. */
const rowsFor = (concurrency: number) => {
  // A handler that is no coroutine blocks the whole server: other requests wait here, where they can be withdrawn.
  const limit = { limit: Infinity, window: "1 second", concurrency } as const
  const row = { method: "POST", limit, limiter: "the local worker" } as const
  return {
    run: { ...row, name: "run", path: "/run", repeat: "Submit" },
    status: { ...row, name: "status", path: "/status/{jobId}", repeat: "Once", hold: handlerTimeout },
    stream: { ...row, name: "stream", path: "/stream/{jobId}", repeat: "Once", hold: handlerTimeout }
  } as const satisfies Record<string, Operation>
}

/** FastAPI refuses a request with `{"detail"}` alone, before any handler runs. On the way to a worker on this machine there is no gateway. */
export const errorOf: typeof fromResponse = (where, response) => {
  const { status, text } = response
  const body = status >= 400 && status < 500 ? parseJson(text) : undefined
  if (!isJsonObject(body) || Object.keys(body).join() !== "detail") return fromResponse(where, response)
  const { detail = "" } = ErrorBody.fromText(text)
  return new BadRequestError({ ...where, status, detail: excerpt(detail, 512), body: excerpt(text) })
}

interface Outcome {
  readonly job: Job.TerminalJob
  /** What `/stream` gave; missing where `/status` ran the handler. */
  readonly chunks?: ReadonlyArray<StreamChunk.StreamChunk> | undefined
}

/** A job whose handler is run, or will be when it is its turn. */
interface Running {
  readonly end: Deferred.Deferred<Outcome, RunPodError>
  fiber: Fibers.RuntimeFiber<unknown, unknown> | undefined
  isSent: boolean
}

interface Ids {
  readonly endpointId: string
  readonly jobId: string
}

const failed = ({ jobId }: Ids, error: string): Outcome => ({
  job: { id: JobId.unsafeMake(jobId), status: "FAILED", error, raw: {} }
})

const inProgress = ({ jobId }: Ids): Job.Job => ({ id: JobId.unsafeMake(jobId), status: "IN_PROGRESS", raw: {} })

const whyNot = (error: RunPodError): string =>
  error.status === undefined
    ? `the connection to the local worker broke while the handler ran (${error._tag})`
    : `the local worker answered with HTTP ${error.status} when it ran the handler; its own output says why`

/**
 * Runs jobs on a local worker, whose `/status` and `/stream` run the handler while they are asked, forget the job with their
 * answer, and run it twice when two ask. So each is asked once for a job, and its outcome is kept.
 */
class LocalWorker {
  private readonly running = new Map<string, Running>()
  private readonly ended = new Set<string>()
  /** The jobs that were submitted here and have not ended. */
  private readonly submitted = new Set<string>()

  constructor(
    private readonly client: Client,
    private readonly rows: ReturnType<typeof rowsFor>,
    private readonly fork: (effect: Effect.Effect<unknown>) => Fibers.RuntimeFiber<unknown, unknown>
  ) {}

  submit(endpointId: string, choices: Partial<Request<Job.Job>>): Effect.Effect<Job.Job, RunPodError> {
    const request = { operation: this.rows.run, params: { endpointId }, read: Job.fromSubmitReply, idOf: Job.idOf }
    return Effect.tap(this.client.execute({ ...request, ...choices }), ({ id }) => {
      this.submitted.add(id)
    })
  }

  /** The job's end, for which its handler is run unless it is already. */
  begin(ids: Ids, how: "Status" | "Stream"): Running["end"] {
    const known = this.running.get(ids.jobId)
    if (known !== undefined) return known.end
    const running: Running = { end: Deferred.unsafeMake(FiberId.none), fiber: undefined, isSent: false }
    this.running.set(ids.jobId, running)
    const observer = {
      onQueued: () => true,
      onSend: Effect.sync(() => (running.isSent = true)),
      onRefused: () => Effect.sync(() => void (running.isSent = false))
    }
    const outcome = (how === "Status" ? this.status(ids) : this.stream(ids, [])).pipe(
      // Whether the handler has run is not known, so it is not run again.
      Effect.catchIf(
        (error) => !provesNoEffect(error),
        (error) => Effect.succeed(failed(ids, whyNot(error)))
      ),
      Effect.exit,
      Effect.flatMap((exit) => this.onEnd(ids, running, exit))
    )
    running.fiber = this.fork(Effect.zipRight(useObserver(observer), outcome))
    return running.end
  }

  /** Nobody waits for the job any more: its handler is not run, if that has not begun. */
  withdraw({ jobId }: Ids): void {
    const running = this.running.get(jobId)
    if (running === undefined || running.isSent || this.ended.has(jobId)) return
    this.running.delete(jobId)
    if (running.fiber !== undefined) Fibers.interruptLater(running.fiber)
  }

  private onEnd({ jobId }: Ids, { end }: Running, exit: Exit.Exit<Outcome, RunPodError>) {
    return Effect.suspend(() => {
      const error = Exit.isFailure(exit) ? failureOf(exit.cause) : undefined
      // Nothing was run, and who asks again tries again.
      if (error !== undefined && isRetryable(error)) this.running.delete(jobId)
      else {
        this.ended.add(jobId)
        this.submitted.delete(jobId)
      }
      const [oldest] = this.ended
      if (this.ended.size > remembered && oldest !== undefined) {
        this.ended.delete(oldest)
        this.running.delete(oldest)
      }
      return Deferred.done(end, exit)
    })
  }

  /** A job that was submitted here is not to be waited for: it will not become visible. */
  private notFound(ids: Ids): Effect.Effect<Outcome, RunPodError> {
    const detail = `${unknownJob}: the local worker was started anew, or another client has had the result`
    if (this.submitted.has(ids.jobId)) return Effect.succeed(failed(ids, detail))
    return Effect.fail(new JobNotFoundError({ ...contextOf("status", ids), status: 200, detail, reason: "Unknown" }))
  }

  private status(ids: Ids): Effect.Effect<Outcome, RunPodError> {
    const read = (body: unknown) => Job.fromReply(body, ids.jobId)
    return Effect.flatMap(this.client.execute({ operation: this.rows.status, params: { ...ids }, read }), (job) => {
      if (job.error === unknownJob) return this.notFound(ids)
      return Job.isTerminal(job) ? Effect.succeed({ job }) : Effect.delay(this.status(ids), betweenLooks)
    })
  }

  private stream(ids: Ids, earlier: ReadonlyArray<StreamChunk.StreamChunk>): Effect.Effect<Outcome, RunPodError> {
    const request = { operation: this.rows.stream, params: { ...ids }, read: StreamChunk.fromReply }
    return Effect.flatMap(this.client.execute(request), ({ chunks: newer, raw }) => {
      const error = isJsonObject(raw) ? raw["error"] : undefined
      if (error === unknownJob) return this.notFound(ids)
      // The handler has not run. On RunPod, too, such a job has no chunks.
      if (typeof error === "string" && error.startsWith(noGenerator)) {
        return Effect.map(this.status(ids), ({ job }) => ({ job, chunks: [] }))
      }
      const chunks = [...earlier, ...newer]
      const job = Either.getOrUndefined(Job.fromReply(raw, ids.jobId))
      if (job === undefined || !Job.isTerminal(job)) return Effect.delay(this.stream(ids, chunks), betweenLooks)
      const output = job.status === "COMPLETED" ? { output: chunks.map(({ output }) => output) } : {}
      return Effect.succeed({ job: { ...job, ...output }, chunks })
    })
  }
}

/** The chunks of a job that has ended. Where `/status` ran a generator, they are its output. */
const chunksOf = ({ chunks, job }: Outcome): ReadonlyArray<StreamChunk.StreamChunk> => {
  const { output } = job
  return chunks ?? (Array.isArray(output) ? output.map((output: unknown) => ({ output })) : [])
}

/** `RunPod` over a client of a local worker. Closing the scope gives up the handlers that run. */
export const make = (
  client: Client,
  { concurrency }: { readonly concurrency: number }
): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.map(FiberSet.makeRuntime<never, unknown, never>(), (fork) => {
    const worker = new LocalWorker(client, rowsFor(concurrency), (effect) => fork(Effect.interruptible(effect)))

    const checked = <A>(operation: "status" | "statusSync" | "stream" | "cancel", ids: Ids, f: () => A) => {
      const problem = checkIds(operation, ids.endpointId, ids.jobId)
      return problem === undefined ? Effect.sync(f) : Effect.fail(problem)
    }

    const submit: Service["run"] = (endpointId, request, options) =>
      Effect.suspend(() => {
        const problem = checkIds("run", endpointId)
        if (problem !== undefined) return Effect.fail(problem)
        const body = readBody("run", endpointId, request)
        if (Either.isLeft(body)) return Effect.fail(body.left)
        return worker.submit(endpointId, {
          body: body.right,
          secrets: secretsOf(request),
          resubmit: options?.resubmit
        })
      })

    /** The job at its end, or as it is after `hold` milliseconds, and no later than its caller's deadline. */
    const settled = (ids: Ids, hold: number): Effect.Effect<Job.Job, RunPodError> =>
      withCaller(({ clock, options }) => {
        const end = worker.begin(ids, "Status")
        const left = Math.max(0, Math.min(hold, Math.floor(options.deadline - monotonicMillis(clock))))
        return Effect.map(
          Effect.timeoutOption(Deferred.await(end), left),
          Option.match({ onNone: () => inProgress(ids), onSome: ({ job }) => job })
        )
      })

    const lacks = (operation: "cancel" | "retry" | "purgeQueue" | "health" | "requests", what: string) =>
      Effect.fail(
        new BadRequestError({
          ...refuse(operation, `the local worker API (--rp_serve_api) has no ${operation}: ${what}`),
          reason: "Unsupported"
        })
      )

    return {
      run: submit,
      runSync: (endpointId, request, options) =>
        Effect.flatMap(fromEither(readHold("runSync", options?.wait)), (hold = usualHold) =>
          Effect.flatMap(submit(endpointId, request, options), ({ id }) => settled({ endpointId, jobId: id }, hold))
        ),
      status: (endpointId, jobId) => {
        const ids = { endpointId, jobId }
        return Effect.flatMap(
          checked("status", ids, () => worker.begin(ids, "Status")),
          (end) =>
            Effect.flatMap(Deferred.poll(end), (known) =>
              Option.isNone(known) ? Effect.succeed(inProgress(ids)) : Effect.map(known.value, ({ job }) => job)
            )
        )
      },
      statusSync: (endpointId, jobId, options) => {
        const ids = { endpointId, jobId }
        return Effect.flatMap(fromEither(readHold("statusSync", options?.wait)), (hold = usualHold) =>
          Effect.flatten(checked("statusSync", ids, () => settled(ids, hold)))
        )
      },
      stream: (endpointId, jobId, { onEnd = () => Effect.void, wait } = {}) => {
        const ids = { endpointId, jobId }
        const end = Effect.zipRight(
          fromEither(readHold("stream", wait)),
          checked("stream", ids, () => worker.begin(ids, "Stream"))
        )
        return Stream.fromEffect(Effect.flatMap(end, Deferred.await)).pipe(
          Stream.flatMap((outcome) =>
            Stream.concat(Stream.execute(onEnd(outcome.job.status)), Stream.fromIterable(chunksOf(outcome)))
          )
        )
      },
      cancel: (endpointId, jobId) => {
        const ids = { endpointId, jobId }
        return Effect.zipRight(
          checked("cancel", ids, () => worker.withdraw(ids)),
          lacks("cancel", "a handler that has begun goes on, unless you stop the worker")
        )
      },
      retry: () => lacks("retry", "submit the input again"),
      purgeQueue: () => lacks("purgeQueue", "it has no queue"),
      health: () => lacks("health", "its own output shows its jobs"),
      requests: () => lacks("requests", "its own output shows its jobs")
    }
  })
