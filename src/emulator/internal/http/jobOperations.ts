import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { type BatchOperation, type Operation, operations } from "../../../schemas/Operation.js"
import * as Holds from "../jobs/holds.js"
import * as Lifecycle from "../jobs/lifecycle.js"
import { type Endpoint, type Job, largestBody, type Model, type SubmitOperation } from "../jobs/model.js"
import * as Retention from "../jobs/retention.js"
import type { Answer, Call, HttpResponse } from "./messages.js"
import * as RequestParser from "./requestParser.js"
import * as Responses from "./responses.js"

/** The job as it is now; it may be forgotten by the end of a hold. */
const statusOf = (model: Model, job: Job): HttpResponse =>
  Retention.find(model, job.endpoint, job.id) === undefined ? Responses.jobNotFound : Responses.job(job)

const takeChunks = (model: Model, job: Job): HttpResponse => {
  if (Retention.find(model, job.endpoint, job.id) === undefined) return Responses.jobNotFound
  const taken = job.chunks
  job.chunks = []
  return Responses.chunks(job, taken)
}

/** The hold a request asks for, in milliseconds. */
const parseWait = (
  wait: string | undefined,
  operation: "runSync" | "statusSync" | "stream"
): Either.Either<number, HttpResponse> => {
  if (wait === undefined) return Either.right(operations[operation].hold)
  const millis = /^\d{1,6}$/.test(wait) ? Number(wait) : 0
  return millis >= 1000 && millis <= 300_000
    ? Either.right(millis)
    : Either.left(Responses.badRequest("wait is invalid; must be between 1000 and 300000"))
}

const submit = Effect.fnUntraced(function* (model: Model, endpoint: Endpoint, operation: SubmitOperation, call: Call) {
  const text = yield* call.request.readBody(largestBody[operation].bytes)
  if (text === undefined) return Responses.tooLarge(operation)
  const jobRequest = yield* Either.mapLeft(RequestParser.parseJobRequest(text), Responses.refused)
  const hold = operation === "run" ? 0 : yield* parseWait(call.route.wait, operation)
  if (endpoint.maxWorkers <= 0) return Responses.paused
  const job = Lifecycle.submit(model, endpoint, operation, jobRequest)
  call.record.jobId = job.id
  if (operation === "run") return Responses.accepted(job)
  yield* Holds.awaitEnd(model, job, hold)
  return statusOf(model, job)
}, Effect.merge)

const executeOnJob = (
  model: Model,
  job: Job,
  operation: "status" | "statusSync" | "stream" | "cancel" | "retry",
  wait: string | undefined
): Answer => {
  switch (operation) {
    case "status":
      return Responses.job(job)
    case "statusSync":
    case "stream": {
      const hold = parseWait(wait, operation)
      if (Either.isLeft(hold)) return hold.left
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
        : Responses.refused(`a job that is ${job.status} cannot be retried`)
  }
}

export const execute = (
  model: Model,
  endpoint: Endpoint,
  operation: Exclude<Operation, BatchOperation>,
  call: Call
): Answer => {
  switch (operation) {
    case "run":
    case "runSync":
      return submit(model, endpoint, operation, call)
    case "health":
      return Responses.health(model, endpoint)
    case "requests":
      return Responses.requests(model, endpoint)
    case "purgeQueue":
      return Responses.purged(Lifecycle.purge(model, endpoint))
    default: {
      const { jobId = "", wait } = call.route
      const job = Retention.find(model, endpoint, jobId)
      return job === undefined ? Responses.jobNotFound : executeOnJob(model, job, operation, wait)
    }
  }
}
