import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Alarm } from "../../../internal/pace/timer.js"
import { type BatchOperation, type Operation, operations } from "../../../schemas/Operation.js"
import { isFound } from "../jobs/plans.js"
import * as Lifecycle from "../jobs/lifecycle.js"
import { type Endpoint, type Job, largestBody, type Model, type SubmitOperation, type Waiters } from "../jobs/model.js"
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

/** Waits until it is woken, `millis` at most, unless `isOver` already. */
export const hold = ({ timer }: Model, waiters: Waiters, millis: number, isOver: () => boolean): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (isOver()) return resume(Effect.void)
    let alarm: Alarm | undefined = undefined
    const leave = () => {
      if (alarm !== undefined) timer.clear(alarm)
      waiters.delete(wakeUp)
    }
    const wakeUp = () => {
      leave()
      resume(Effect.void)
    }
    waiters.add(wakeUp)
    // An alarm that is due already wakes it before there is an alarm to clear.
    alarm = timer.set(timer.now() + millis, wakeUp)
    return Effect.sync(leave)
  })

export const awaitEnd = (model: Model, job: Job, millis: number): Effect.Effect<void> =>
  hold(model, job.endWaiters, millis, () => job.hasEnded || !job.isKept)

/** Waits for a chunk or the end, `millis` at most, and only until `isVain`, which can become so when the job is queued again. */
export const awaitChunk = (model: Model, job: Job, millis: number, isVain = () => false): Effect.Effect<void> => {
  const deadline = model.timer.now() + millis
  const isOver = () => job.hasEnded || job.chunks.length > 0 || !job.isKept || isVain() || model.timer.now() >= deadline
  const untilWoken = Effect.suspend(() => hold(model, job.chunkWaiters, deadline - model.timer.now(), isOver))
  // Another reader may have taken the chunk that woke this one: then it goes on waiting.
  return Effect.repeat(untilWoken, { until: isOver })
}

/** The hold a request asks for, in milliseconds. */
const parseWait = (wait: string | undefined, operation: "runSync" | "statusSync" | "stream") => {
  if (wait === undefined) return Either.right(operations[operation].hold)
  const millis = /^\d{1,6}$/.test(wait) ? Number(wait) : 0
  return millis >= 1000 && millis <= 300_000
    ? Either.right(millis)
    : Either.left(Responses.badRequest("wait is invalid; must be between 1000 and 300000"))
}

const submit = Effect.fnUntraced(function* (
  model: Model,
  endpoint: Endpoint,
  operation: Exclude<SubmitOperation, "openai">,
  call: Call
) {
  const text = yield* call.request.readBody(largestBody[operation].bytes)
  if (text === undefined) return Responses.tooLarge(operation)
  const jobRequest = yield* RequestParser.parseJson(text).pipe(
    Either.flatMap(RequestParser.readJobRequest),
    Either.mapLeft(Responses.refused)
  )
  const millis = operation === "run" ? 0 : yield* parseWait(call.route.wait, operation)
  if (endpoint.maxWorkers <= 0) return Responses.paused
  const job = Lifecycle.submit(model, endpoint, operation, jobRequest, { plan: call.plan })
  call.record.jobId = job.id
  if (operation === "run") return Responses.accepted(job)
  yield* awaitEnd(model, job, millis)
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
      const millis = parseWait(wait, operation)
      if (Either.isLeft(millis)) return millis.left
      return operation === "stream"
        ? Effect.map(awaitChunk(model, job, millis.right), () => takeChunks(model, job))
        : Effect.map(awaitEnd(model, job, millis.right), () => statusOf(model, job))
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
      return job === undefined || !isFound(job.submission.plan, model.timer.now() - job.createdAt)
        ? Responses.jobNotFound
        : executeOnJob(model, job, operation, wait)
    }
  }
}
