import { defined } from "../../../internal/text/json.js"
import type { Terminal } from "../../../schemas/JobStatus.js"
import type { End, JobSnapshot, Workers as WorkerCounts } from "../../contract.js"
import * as Random from "../random.js"
import { dispatch, finish, stop } from "./execution.js"
import { toText } from "./handler.js"
import { type Endpoint, Job, type JobRequest, type Model, priority, type SubmitOperation } from "./model.js"
import * as Retention from "./retention.js"
import * as Workers from "./workers.js"

/** Queues a new job, or with `batchedId` that of a batch's request: it runs when no others wait, and no purge removes it. */
export const submit = (
  model: Model,
  endpoint: Endpoint,
  operation: SubmitOperation,
  request: JobRequest,
  batchedId?: string
): Job => {
  Retention.forgetExpired(model)
  const id = batchedId ?? `${operation === "run" ? "" : "sync-"}${Random.uuid(model.random.ids)}-u1`
  const submission = { ...request, operation, ...model.faults.forJob(operation, endpoint.id) }
  const job = new Job(id, endpoint, submission, model.timer.now())
  if (batchedId !== undefined) job.queueEntry.at = priority.batch
  endpoint.jobs.set(id, job)
  model.counters.counts.submitted++
  enqueue(model, job)
  return job
}

const enqueue = (model: Model, job: Job): void => {
  const { endpoint } = job
  job.status = "IN_QUEUE"
  job.queuedAt = model.timer.now()
  endpoint.queue.add(job.queueEntry)
  job.ttlAlarm = model.timer.set(job.createdAt + job.submission.ttl, () => {
    endpoint.queue.remove(job.queueEntry)
    Retention.forget(model, job)
    stop(model, job)
  })
  dispatch(model, endpoint)
}

const endNow = (model: Model, job: Job, end: { status: Terminal; output?: string; error?: string }): void => {
  job.endpoint.queue.remove(job.queueEntry)
  finish(model, job, { output: undefined, error: undefined, ...end })
  stop(model, job)
}

export const cancel = (model: Model, job: Job): void => {
  job.cancels++
  if (!job.hasEnded) endNow(model, job, { status: "CANCELLED" })
}

export const end = (model: Model, job: Job, { error, output, status }: End): boolean => {
  if (job.hasEnded) return false
  endNow(model, job, { status, ...defined({ output: toText(output), error: toText(error) }) })
  return true
}

export const retry = (model: Model, job: Job): boolean => {
  if (job.status !== "FAILED" && job.status !== "TIMED_OUT") return false
  model.endedJobs.remove(job.endedEntry)
  job.retried++
  job.endpoint.retried++
  job.retries = 0
  job.startedAt = job.finishedAt = job.delayTime = job.executionTime = undefined
  job.workerId = job.output = job.error = undefined
  job.chunks = []
  enqueue(model, job)
  return true
}

/** Removes what is queued, jobs of batches excepted, and says how much it was. */
export const purge = (model: Model, endpoint: Endpoint): number => {
  let removed = 0
  for (let next = endpoint.queue.peek(); next !== undefined; next = endpoint.queue.peek()) {
    if (next.at === priority.batch) break
    removed++
    endpoint.queue.remove(next)
    Retention.forget(model, next.job)
  }
  return removed
}

export const setWorkers = (model: Model, endpoint: Endpoint, workers: WorkerCounts): void => {
  Workers.resize(model, endpoint, workers)
  dispatch(model, endpoint)
}

const parse = (text: string | undefined): unknown => (text === undefined ? undefined : JSON.parse(text))

export const snapshot = ({ toClockTime }: Model, job: Job): JobSnapshot => ({
  id: job.id,
  endpointId: job.endpoint.id,
  operation: job.submission.operation,
  status: job.status,
  input: job.submission.input,
  createdAt: toClockTime(job.createdAt),
  ...defined({
    output: parse(job.output),
    error: parse(job.error),
    startedAt: job.startedAt === undefined ? undefined : toClockTime(job.startedAt),
    finishedAt: job.finishedAt === undefined ? undefined : toClockTime(job.finishedAt),
    workerId: job.workerId,
    delayTime: job.delayTime,
    executionTime: job.executionTime
  }),
  retries: job.retries,
  retried: job.retried,
  cancels: job.cancels,
  starts: job.starts,
  chunks: job.chunks.length
})
