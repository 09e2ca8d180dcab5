import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fibers from "../../../internal/effect/fiber.js"
import type { Alarm } from "../../../internal/pace/timer.js"
import type { Handler } from "../../contract.js"
import type { RunPlan } from "../../plans.js"
import { lostAfter } from "../worker/settings.js"
import type { Worker } from "./fleet.js"
import { completed, failed, type JobResult, perform, toText } from "./handler.js"
import { type Endpoint, type Execution, type Job, largestBody, type Model, wake, type WorkerProcess } from "./model.js"
import * as Processes from "./processes.js"
import * as Retention from "./retention.js"
import * as Workers from "./workers.js"

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
  if (endpoint.settings.external !== undefined) return serveTakes(model, endpoint)
  for (let next = endpoint.queue.peek(); next !== undefined; next = endpoint.queue.peek()) {
    const worker = Workers.acquire(model, endpoint, () => dispatch(model, endpoint))
    if (worker === undefined) return
    endpoint.queue.remove(next)
    start(model, next.job, worker)
  }
}

/** Gives what is queued to the processes that ask for it, the one that has waited longest first. */
const serveTakes = (model: Model, endpoint: Endpoint): void => {
  while (endpoint.queue.size > 0) {
    const take = Workers.nextTake(endpoint)
    if (take === undefined) return
    const given: Array<Job> = []
    for (
      let next = endpoint.queue.peek();
      next !== undefined && given.length < take.max;
      next = endpoint.queue.peek()
    ) {
      endpoint.queue.remove(next)
      startInProcess(model, next.job, take.worker)
      given.push(next.job)
    }
    endpoint.takes.delete(take)
    take.jobs = given
    wake(take.waiters)
  }
}

const startInProcess = (model: Model, job: Job, worker: WorkerProcess): void => {
  const execution = occupy(model, job, worker)
  if (job.hasInput) job.starts++
  Processes.assign(worker, job)
  failAtTimeout(model, execution)
  hearOf(model, execution)
}

/** A process has reported that it works on its job. Each report puts off the time when the job is lost. */
export const hearOf = (model: Model, execution: Execution): void => {
  const millis = execution.job.endpoint.settings.external?.lostAfter ?? lostAfter
  if (execution.lossAlarm !== undefined) model.timer.clear(execution.lossAlarm)
  execution.lossAlarm = model.timer.set(model.timer.now() + millis, () => lose(model, execution))
}

/** Ends a job with what its process has reported. What comes after the executionTimeout is too late: its alarm ends the job. */
export const endReported = (model: Model, execution: Execution, result: JobResult): void => {
  const { job, startedAt, worker } = execution
  if (model.timer.now() - startedAt > job.submission.executionTimeout) return
  Processes.find(job.endpoint, worker)?.jobs.delete(job)
  end(model, job, result)
}

/** The worker has not reported its job: another one gets it, once. */
const lose = (model: Model, { job, worker }: Execution): void => {
  // There is nothing that it could be told to stop.
  Processes.find(job.endpoint, worker)?.jobs.delete(job)
  if (job.retries > 0) end(model, job, failed("job timed out after 1 retries"))
  else redispatch(model, job)
}

const start = (model: Model, job: Job, worker: Worker): void => {
  const execution = occupy(model, job, worker)
  const { handler } = job.endpoint.settings
  if (!job.hasInput) startEmptyInput(model, execution)
  else if (handler === undefined) startEcho(model, execution)
  else startHandler(model, execution, handler)
}

/** Gives a job to a worker. */
const occupy = (model: Model, job: Job, worker: Worker): Execution => {
  const { endpoint } = job
  const now = model.timer.now()
  const execution: Execution = { job, worker, startedAt: now, alarm: undefined, lossAlarm: undefined, fiber: undefined }
  worker.active++
  endpoint.inProgress++
  job.status = "IN_PROGRESS"
  job.startedAt = now
  job.delayTime = Math.round(now - job.queuedAt)
  job.coldStart = Math.max(0, Math.round(worker.readyAt - Math.max(worker.startedAt, job.queuedAt)))
  job.workerId = worker.id
  job.execution = execution
  job.noteChange()
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
      job.yielded++
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
  job.noteChange()
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

/** A worker given an empty input never reports. */
const startEmptyInput = (model: Model, execution: Execution): void => {
  if (execution.job.submission.executionTimeout < lostAfter) return failAtTimeout(model, execution)
  execution.alarm = model.timer.set(execution.startedAt + lostAfter, () => lose(model, execution))
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
    job.yielded++
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
  job.reset()
  job.noteChange()
  wake(job.chunkWaiters)
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
  if (execution.lossAlarm !== undefined) model.timer.clear(execution.lossAlarm)
  const process = Processes.find(endpoint, execution.worker)
  if (process !== undefined) Processes.tellToStop(process, job)
  if (execution.fiber === undefined) release(model, endpoint, execution.worker)
  else Fibers.interruptLater(execution.fiber)
}

const release = (model: Model, endpoint: Endpoint, worker: Worker): void => {
  endpoint.inProgress--
  const process = Processes.find(endpoint, worker)
  if (process === undefined) Workers.release(model, endpoint, worker)
  else Processes.release(model, endpoint, process)
  dispatch(model, endpoint)
}
