import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fibers from "../../../internal/effect/fiber.js"
import type { Alarm } from "../../../internal/pace/timer.js"
import type { Handler } from "../../contract.js"
import type { RunPlan } from "../../plans.js"
import { completed, failed, type JobResult, perform, toText } from "./handler.js"
import { type Endpoint, type Execution, type Job, largestBody, type Model, wake, type Worker } from "./model.js"
import * as Retention from "./retention.js"
import * as Workers from "./workers.js"

/** A worker given an empty input never reports: the job goes to another one after this time, where it fails after the same. */
const emptyInputIsLostAfter = 45_000

/** RunPod kills a job so long after its executionTimeout, in milliseconds. */
const killedAfterTimeout = { min: 1_000, max: 4_000 }

export const dispatch = (model: Model, endpoint: Endpoint): void => {
  if (model.isClosed) return
  // A job that ends at once or an alarm that is due calls this again: the outer call goes on for it, so that calls do not nest.
  endpoint.isDispatchDue = true
  if (endpoint.isDispatching) return
  endpoint.isDispatching = true
  while (endpoint.isDispatchDue) {
    endpoint.isDispatchDue = false
    startQueued(model, endpoint)
  }
  endpoint.isDispatching = false
}

const startQueued = (model: Model, endpoint: Endpoint): void => {
  for (let next = endpoint.queue.peek(); next !== undefined; next = endpoint.queue.peek()) {
    const worker = Workers.acquire(model, endpoint, () => dispatch(model, endpoint))
    if (worker === undefined) return
    endpoint.queue.remove(next)
    start(model, next.job, worker)
  }
}

const start = (model: Model, job: Job, worker: Worker): void => {
  const execution = occupy(model, job, worker)
  const { handler } = job.endpoint.settings
  if (Object.keys(job.submission.input).length === 0) startEmptyInput(model, execution)
  else if (handler === undefined) startEcho(model, execution)
  else startHandler(model, execution, handler)
}

/** Gives a job to a worker. */
const occupy = (model: Model, job: Job, worker: Worker): Execution => {
  const { endpoint } = job
  const now = model.timer.now()
  const execution: Execution = { job, worker, startedAt: now, alarm: undefined, fiber: undefined }
  worker.active++
  endpoint.inProgress++
  job.status = "IN_PROGRESS"
  job.startedAt = now
  job.delayTime = Math.round(now - job.queuedAt)
  job.workerId = worker.id
  job.execution = execution
  return execution
}

/** Sets the alarms of a planned run. Its start, updates and end come in this order also where they come at the same time. */
export const follow = (model: Model, job: Job, plan: RunPlan): void => {
  const { endpoint } = job
  const { chunks = [], end: planned, endAfter, progress = [], startAfter, workerId } = plan
  const queuedAt = model.timer.now()
  const alarms: Array<Alarm> = []
  job.planAlarms = alarms
  const at = (after: Duration.DurationInput | undefined, run: () => void) => {
    const millis = after === undefined ? Infinity : Math.round(Duration.toMillis(after))
    if (millis <= 0) run()
    else if (millis < Infinity) alarms.push(model.timer.set(queuedAt + millis, run))
  }
  at(startAfter, () => {
    endpoint.planned.delete(job)
    occupy(model, job, Workers.named(model, endpoint, workerId))
  })
  for (const { after, value } of progress) at(after, () => void (job.output = toText(value)))
  for (const { after, value } of chunks) {
    at(after, () => {
      job.chunks.push(toText(value) ?? "null")
      wake(job.chunkWaiters)
    })
  }
  at(endAfter, () => {
    endpoint.planned.delete(job)
    const { error, output, status } = planned ?? { status: "COMPLETED" }
    finish(model, job, { status, output: toText(output), error: toText(error) })
    stop(model, job)
  })
}

/** A worker cannot upload a result that is larger than a submit may be; the job is COMPLETED without it. */
const isTooLarge = (output: string | undefined, operation: keyof typeof largestBody): boolean => {
  const { bytes } = largestBody[operation]
  // A character is at most 3 bytes.
  if (output === undefined || output.length * 3 <= bytes) return false
  return output.length > bytes || new TextEncoder().encode(output).byteLength > bytes
}

const settle = (model: Model, job: Job, { error, output, status }: JobResult): void => {
  const { endpoint } = job
  const now = model.timer.now()
  job.status = status
  job.finishedAt = now
  if (job.startedAt !== undefined) job.executionTime = Math.round(now - job.startedAt)
  job.output = output
  job.error = error
  if (status !== "COMPLETED") job.chunks = []
  if (status === "COMPLETED") endpoint.completed++
  if (status === "FAILED") endpoint.failed++
  model.counters.counts.ended[status]++
  Retention.keep(model, job, now)
}

export const finish = (model: Model, job: Job, result: JobResult): void => {
  settle(model, job, result)
  wake(job.endWaiters, job.chunkWaiters)
  model.onEnd(job)
}

/** Ends a job with what its worker reports, unless a fault of the platform changes it. */
const finishExecution = (model: Model, job: Job, result: JobResult): void => {
  const { lateProgress, operation, outputMissing } = job.submission
  if (result.status !== "COMPLETED") return finish(model, job, result)
  const progress = job.output
  const output = outputMissing || isTooLarge(result.output, operation) ? undefined : result.output
  if (lateProgress === undefined) return finish(model, job, { ...result, output })
  settle(model, job, { ...result, output })
  job.status = "IN_PROGRESS"
  job.output = lateProgress.value === undefined ? (progress ?? `"100%"`) : toText(lateProgress.value)
}

const end = (model: Model, job: Job, result: JobResult): void => {
  finishExecution(model, job, result)
  stop(model, job)
}

const endAfter = (model: Model, execution: Execution, millis: number, result: () => JobResult): void => {
  execution.alarm = model.timer.set(execution.startedAt + millis, () => end(model, execution.job, result()))
}

const failAtTimeout = (model: Model, execution: Execution): void => {
  const late = model.random.timeouts.between(killedAfterTimeout.min, killedAfterTimeout.max)
  const millis = execution.job.submission.executionTimeout + late
  endAfter(model, execution, millis, () => failed("executionTimeout exceeded"))
}

const startEmptyInput = (model: Model, execution: Execution): void => {
  const { retries, submission } = execution.job
  if (submission.executionTimeout < emptyInputIsLostAfter) return failAtTimeout(model, execution)
  if (retries > 0) {
    return endAfter(model, execution, emptyInputIsLostAfter, () => failed("job timed out after 1 retries"))
  }
  execution.alarm = model.timer.set(execution.startedAt + emptyInputIsLostAfter, () => redispatch(model, execution.job))
}

const startEcho = (model: Model, execution: Execution): void => {
  const { endpoint, submission } = execution.job
  const { max, min } = endpoint.settings.execution
  const millis = model.random.times.between(min, max)
  const result = () => completed(toText(submission.input))
  if (millis > submission.executionTimeout) failAtTimeout(model, execution)
  else if (millis > 0) endAfter(model, execution, millis, result)
  else end(model, execution.job, result())
}

const startHandler = (model: Model, execution: Execution, handler: Handler): void => {
  const { job, worker } = execution
  const { endpoint, submission } = job
  // What a handler does after its job was taken from the worker changes nothing.
  const isCurrent = () => job.execution === execution
  job.starts++
  failAtTimeout(model, execution)
  const progress = (value: unknown) =>
    Effect.sync(() => {
      if (isCurrent()) job.output = toText(value)
    })
  const run = () => handler(submission.input, { id: job.id, workerId: worker.id, progress })
  const onChunk = (text: string) => {
    if (!isCurrent()) return
    job.chunks.push(text)
    wake(job.chunkWaiters)
  }
  const { aggregateStream: aggregate } = endpoint.settings
  const fiber = model.forkHandler(perform(run, { workerId: worker.id, aggregate, onChunk }))
  execution.fiber = fiber
  Fibers.onEnd(fiber, (exit) => {
    execution.fiber = undefined
    if (model.isClosed) return
    // The job was taken from the worker, which is free only now.
    if (!isCurrent()) return release(model, endpoint, worker)
    // Too late for a result: the alarm of the executionTimeout ends the job.
    if (model.timer.now() - execution.startedAt > submission.executionTimeout) return
    end(model, job, Exit.isSuccess(exit) ? exit.value : failed("the worker exited"))
  })
}

/** Takes the job from a worker that does not report, and queues it again: it has waited since its submit. */
const redispatch = (model: Model, job: Job): void => {
  const { endpoint } = job
  stop(model, job)
  job.retries++
  endpoint.retried++
  job.status = "IN_QUEUE"
  job.startedAt = job.delayTime = job.workerId = undefined
  endpoint.queue.add(job.queueEntry)
  dispatch(model, endpoint)
}

/** Takes the job off its worker. A handler is interrupted, and its worker is free when it has ended. */
export const stop = (model: Model, job: Job): void => {
  const { endpoint, execution } = job
  for (const alarm of job.planAlarms) model.timer.clear(alarm)
  job.planAlarms = []
  if (execution === undefined) return
  job.execution = undefined
  if (execution.alarm !== undefined) model.timer.clear(execution.alarm)
  if (execution.fiber === undefined) release(model, endpoint, execution.worker)
  else Fibers.interruptLater(execution.fiber)
}

const release = (model: Model, endpoint: Endpoint, worker: Worker): void => {
  endpoint.inProgress--
  Workers.release(model, endpoint, worker)
  dispatch(model, endpoint)
}
