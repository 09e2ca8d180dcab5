import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { BatchOperation, Operation } from "../../../schemas/Operation.js"
import type { Faults } from "../faults.js"
import * as Holds from "../jobs/holds.js"
import * as Lifecycle from "../jobs/lifecycle.js"
import { type Endpoint, type Job, largestBody, type Model, type SubmitOperation } from "../jobs/model.js"
import * as Retention from "../jobs/retention.js"
import type { HttpRequest, HttpResponse } from "./messages.js"
import * as RequestParser from "./requestParser.js"
import * as Responses from "./responses.js"

/** A request for an operation on jobs, its endpoint found. */
export interface JobCall {
  readonly operation: Exclude<Operation, BatchOperation>
  readonly endpoint: Endpoint
  readonly request: HttpRequest
  readonly jobId: string | undefined
  /** The hold it asks for. */
  readonly wait: string | undefined
  readonly onSubmitted: (jobId: string) => void
}

/** How long a request is held that does not say it, in milliseconds. */
const defaultHold = { runSync: 90_000, statusSync: 90_000, stream: 10_000 }

/** The job as it is now; it may be forgotten by the end of a hold. */
const statusOf = (model: Model, job: Job): HttpResponse =>
  Retention.find(model, job.endpoint, job.id) === undefined ? Responses.jobNotFound : Responses.job(job)

const takeChunks = (model: Model, job: Job): HttpResponse => {
  if (Retention.find(model, job.endpoint, job.id) === undefined) return Responses.jobNotFound
  const taken = job.chunks
  job.chunks = []
  return Responses.chunks(job, taken)
}

const submit = Effect.fnUntraced(function* (model: Model, faults: Faults, operation: SubmitOperation, call: JobCall) {
  const { endpoint, request } = call
  const text = yield* request.readBody(largestBody[operation].bytes)
  if (text === undefined) return Responses.tooLarge(operation)
  const jobRequest = RequestParser.parseJobRequest(text)
  if (Either.isLeft(jobRequest)) return Responses.badRequest(jobRequest.left)
  const hold = operation === "run" ? Either.right(0) : RequestParser.parseWait(call.wait, defaultHold.runSync)
  if (Either.isLeft(hold)) return Responses.badRequest(hold.left)
  if (endpoint.maxWorkers <= 0) return Responses.paused
  const jobFaults = faults.forJob(operation, endpoint.id)
  const job = Lifecycle.submit(model, endpoint, { ...jobRequest.right, operation, ...jobFaults })
  call.onSubmitted(job.id)
  if (operation === "run") return Responses.accepted(job)
  yield* Holds.awaitEnd(model, job, hold.right)
  return statusOf(model, job)
})

type OneJobOperation = "status" | "statusSync" | "stream" | "cancel" | "retry"

const executeOnJob = (
  model: Model,
  job: Job,
  operation: OneJobOperation,
  wait: string | undefined
): HttpResponse | Effect.Effect<HttpResponse> => {
  switch (operation) {
    case "status":
      return Responses.job(job)
    case "statusSync":
    case "stream": {
      const hold = RequestParser.parseWait(wait, defaultHold[operation])
      if (Either.isLeft(hold)) return Responses.badRequest(hold.left)
      return operation === "stream"
        ? Effect.map(Holds.awaitChunk(model, job, hold.right), () => takeChunks(model, job))
        : Effect.map(Holds.awaitEnd(model, job, hold.right), () => statusOf(model, job))
    }
    case "cancel":
      Lifecycle.cancel(model, job)
      return Responses.job(job)
    case "retry":
      return Lifecycle.retry(model, job)
        ? Responses.accepted(job)
        : Responses.badRequest(`bad request: a job that is ${job.status} cannot be retried`)
  }
}

/** The response is an effect only where the request is held or its body is read. */
export const execute = (model: Model, faults: Faults, call: JobCall): HttpResponse | Effect.Effect<HttpResponse> => {
  const { endpoint, jobId, operation } = call
  switch (operation) {
    case "run":
    case "runSync":
      return submit(model, faults, operation, call)
    case "health":
      return Responses.health(model, endpoint)
    case "requests":
      return Responses.requests(model, endpoint)
    case "purgeQueue":
      return Responses.purged(Lifecycle.purge(model, endpoint))
    default: {
      const job = jobId === undefined ? undefined : Retention.find(model, endpoint, jobId)
      return job === undefined ? Responses.jobNotFound : executeOnJob(model, job, operation, call.wait)
    }
  }
}
