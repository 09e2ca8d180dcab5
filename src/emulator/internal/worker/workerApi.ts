import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { hold } from "../http/jobOperations.js"
import type { Answer, HttpRequest, HttpResponse, Transmission } from "../http/messages.js"
import { type Parts as RequestParts, refuseKey } from "../http/requestHandler.js"
import * as Responses from "../http/responses.js"
import * as Execution from "../jobs/execution.js"
import { completed } from "../jobs/handler.js"
import { type Endpoint, type Job, largestBody, type Model, type Take, wake, type WorkerProcess } from "../jobs/model.js"
import * as Processes from "../jobs/processes.js"
import * as Retention from "../jobs/retention.js"
import { readChunk, readReport } from "./reports.js"

export interface Parts extends RequestParts {
  /** The key of the workers, beside which they may send the client's. */
  readonly workerKey: string
}

/** A request of a worker. */
interface WorkerCall {
  readonly model: Model
  readonly endpoint: Endpoint
  readonly worker: WorkerProcess
  readonly query: URLSearchParams
  readonly request: HttpRequest
  readonly jobId: string
}

/** What a worker may ask for, and how. */
const operations: Readonly<
  Record<string, { readonly method: string; readonly perform: (call: WorkerCall) => Answer } | undefined>
> = {
  "job-take": { method: "GET", perform: (call) => take(call, 1, (jobs) => jobs[0] ?? "") },
  "job-take-batch": {
    method: "GET",
    perform: (call) => take(call, batchSizeOf(call.query), (jobs) => `[${jobs.join(",")}]`)
  },
  "job-stop": { method: "GET", perform: (call) => awaitStops(call) },
  ping: { method: "GET", perform: (call) => ping(call) },
  "job-done": { method: "POST", perform: (call) => withJob(call, receiveReport) },
  "job-stream": { method: "POST", perform: (call) => withJob(call, receiveChunk) }
}

/** `{operation}/{workerId}` below an endpoint, with the id of a job behind it where it is about one. */
const paths =
  /^(?:\/v2)?\/(?<endpointId>[^/?]+)\/(?:(?<operation>job-take|job-take-batch|job-stop|ping)\/(?<workerId>[^/?]+)|(?<report>job-done|job-stream)\/(?<reporter>[^/?]+)\/(?<jobId>[^/?]+))(?:\?(?<query>.*))?$/

/** Handles a request of a worker; `undefined` for those of clients. It counts for nothing that is counted of clients. */
export const handle = (parts: Parts, request: HttpRequest): Effect.Effect<Transmission> | undefined => {
  const {
    endpointId = "",
    operation,
    workerId,
    report,
    reporter,
    jobId = "",
    query
  } = paths.exec(request.target)?.groups ?? {}
  const endpoint = parts.model.endpoints.get(endpointId)
  const { method, perform } = operations[operation ?? report ?? ""] ?? {}
  const id = workerId ?? reporter
  if (endpoint?.settings.external === undefined || perform === undefined || id === undefined) return undefined
  return Effect.map(
    Effect.suspend(() => {
      const refusal = refuse(parts, request.authorization)
      if (refusal !== undefined) return Effect.succeed(refusal)
      if (request.method !== method) return Effect.succeed(Responses.methodNotAllowed)
      const { model } = parts
      const worker = Processes.hear(model, endpoint, id)
      const answer = perform({ model, endpoint, worker, jobId, request, query: new URLSearchParams(query) })
      return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
    }),
    (response) => ({ _tag: "Whole", response })
  )
}

const refuse = ({ apiKey, workerKey }: Parts, authorization: string | undefined): HttpResponse | undefined => {
  const refusal = refuseKey(apiKey, authorization)
  return refusal === undefined || refuseKey(workerKey, authorization) === undefined ? undefined : refusal
}

const batchSizeOf = (query: URLSearchParams): number => {
  const size = Number(query.get("batch_size") ?? 1)
  return Number.isInteger(size) && size >= 1 ? size : 1
}

/** A worker is alive as long as one of its requests is held. */
const whileHeld = <A>({ model, worker }: WorkerCall, held: Effect.Effect<A>): Effect.Effect<A> =>
  Effect.acquireUseRelease(
    Effect.sync(() => worker.held++),
    () => held,
    () =>
      Effect.sync(() => {
        worker.held--
        worker.heardAt = model.timer.now()
      })
  )

const holdOf = ({ settings }: Endpoint): number => settings.external?.hold ?? 0

/** Gives a worker jobs, as soon as there are some. */
const take = (
  call: WorkerCall,
  max: number,
  write: (jobs: ReadonlyArray<string>) => string
): Effect.Effect<HttpResponse> => {
  const { endpoint, model, worker } = call
  const taken: Take = { worker, max, jobs: [], waiters: new Set() }
  const held = Effect.ensuring(
    Effect.suspend(() => {
      worker.isReady = true
      worker.isUnhealthy = false
      endpoint.takes.add(taken)
      Execution.dispatch(model, endpoint)
      return hold(model, taken.waiters, holdOf(endpoint), () => taken.jobs.length > 0)
    }),
    Effect.sync(() => endpoint.takes.delete(taken))
  )
  return Effect.map(whileHeld(call, held), () =>
    taken.jobs.length === 0 ? Responses.noContent : Responses.okText(write(taken.jobs.map(textOf)))
  )
}

/** A job as a worker gets it. */
const textOf = ({ delayTime, hasInput, id, submission: { input, s3Config } }: Job): string =>
  JSON.stringify({
    delayTime,
    id,
    input: hasInput ? input : undefined,
    s3Config: s3Config && Redacted.value(s3Config),
    status: "IN_PROGRESS"
  })

/** Tells a worker which of its jobs it is to stop, as soon as there is one. */
const awaitStops = (call: WorkerCall): Effect.Effect<HttpResponse> => {
  const { endpoint, model, worker } = call
  const { stops, stopWaiters } = worker
  const held = hold(model, stopWaiters, holdOf(endpoint), () => stops.size > 0)
  return Effect.map(whileHeld(call, held), () => {
    if (stops.size === 0) return Responses.noContent
    const jobsToStop = [...stops]
    stops.clear()
    return Responses.ok({ jobsToStop })
  })
}

/** A worker is alive, and works on the jobs that it names; or it says that it cannot work. */
const ping = ({ model, query, worker }: WorkerCall): HttpResponse => {
  worker.isUnhealthy = query.get("status") === "unhealthy"
  const named = new Set(query.get("job_id")?.split(","))
  for (const job of worker.jobs) {
    if (named.has(job.id) && job.execution !== undefined) Execution.hearOf(model, job.execution)
  }
  return Responses.emptyOk
}

const withJob = (
  call: WorkerCall,
  receive: (call: WorkerCall, job: Job, text: string | undefined) => HttpResponse
): Answer => {
  const { endpoint, jobId, model, request } = call
  const job = Retention.find(model, endpoint, jobId)
  if (job === undefined) return Responses.jobNotFound
  return Effect.map(request.readBody(largestBody[job.submission.operation].bytes), (text) => receive(call, job, text))
}

/** What is posted about a job that the worker has not, or has no longer, changes nothing of the job. */
const executionOf = ({ worker }: WorkerCall, job: Job) => (worker.jobs.has(job) ? job.execution : undefined)

/** A result that is too large or no JSON is refused, and the job is COMPLETED without it. */
const receiveReport = (call: WorkerCall, job: Job, text: string | undefined): HttpResponse => {
  const { endpoint, model, query, worker } = call
  const report = text === undefined ? undefined : readReport(text, query.get("isStream") === "true")
  if (report?._tag === "End" && report.stopPod) Processes.replace(endpoint, worker)
  const execution = executionOf(call, job)
  if (execution === undefined) return Responses.emptyOk
  if (report?._tag === "Progress") {
    job.output = report.output
    Execution.hearOf(model, execution)
    return Responses.emptyOk
  }
  Execution.endReported(model, execution, report?.result ?? completed(undefined))
  return report === undefined ? Responses.refused("body: invalid job output") : Responses.emptyOk
}

const receiveChunk = (call: WorkerCall, job: Job, text: string | undefined): HttpResponse => {
  const execution = executionOf(call, job)
  if (execution === undefined) return Responses.emptyOk
  const chunk = text === undefined ? undefined : readChunk(text)
  if (chunk === undefined) return Responses.refused("body: invalid job output")
  job.yielded++
  job.chunks.push(chunk)
  wake(job.chunkWaiters)
  Execution.hearOf(call.model, execution)
  return Responses.emptyOk
}
