import { defined } from "../../../internal/text/json.js"
import type { Terminal } from "../../../schemas/JobStatus.js"
import type { ChangeOptions, JobChanges, JobSnapshot, JobState, Workers as WorkerCounts } from "../../contract.js"
import type { End, SubmitPlan } from "../../plans.js"
import * as Random from "../random.js"
import { dispatch, finish, follow, stop } from "./execution.js"
import { toText } from "./handler.js"
import { type Endpoint, Job, type JobRequest, type Model, priority, type SubmitOperation } from "./model.js"
import * as Plans from "./plans.js"
import * as Retention from "./retention.js"
import * as Workers from "./workers.js"

interface Choices {
  /** The id of a batch's request, whose job runs when no others wait, and is removed by no purge. */
  readonly batchedId?: string | undefined
  readonly plan?: SubmitPlan | undefined
}

/** Queues a new job. */
export const submit = (
  model: Model,
  endpoint: Endpoint,
  operation: SubmitOperation,
  request: JobRequest,
  { batchedId, plan }: Choices = {}
): Job => {
  Retention.forgetExpired(model)
  const id = batchedId ?? `${operation === "run" ? "" : "sync-"}${Random.uuid(model.random.ids)}-u1`
  const submission = { ...request, operation, plan, ...model.faults.forJob(operation, endpoint.id) }
  const job = new Job(id, endpoint, submission, model.timer.now())
  if (batchedId !== undefined) job.queueEntry.at = priority.batch
  if (plan?.faults !== undefined) job.faults = model.faults.activate(plan.faults, `fault of ${id}`)
  endpoint.jobs.set(id, job)
  model.counters.counts.submitted++
  enqueue(model, job)
  return job
}

const enqueue = (model: Model, job: Job): void => {
  const { endpoint } = job
  job.status = "IN_QUEUE"
  job.queuedAt = model.timer.now()
  job.noteChange()
  const run = Plans.runOf(job.submission.plan, job.retried)
  if (run === undefined) endpoint.queue.add(job.queueEntry)
  else endpoint.planned.add(job)
  job.ttlAlarm = model.timer.set(job.createdAt + job.submission.ttl, () => {
    leaveQueue(job)
    Retention.forget(model, job)
    stop(model, job)
  })
  if (run === undefined) dispatch(model, endpoint)
  else follow(model, job, run)
}

const leaveQueue = (job: Job): void => {
  job.endpoint.queue.remove(job.queueEntry)
  job.endpoint.planned.delete(job)
}

const endNow = (model: Model, job: Job, end: { status: Terminal; output?: string; error?: string }): void => {
  leaveQueue(job)
  finish(model, job, { output: undefined, error: undefined, ...end })
  stop(model, job)
}

export const cancel = (model: Model, job: Job): void => {
  job.cancels++
  job.noteChange()
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
  job.reset()
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
  for (const job of endpoint.planned) {
    removed++
    leaveQueue(job)
    stop(model, job)
    Retention.forget(model, job)
  }
  return removed
}

export const setWorkers = (model: Model, endpoint: Endpoint, workers: WorkerCounts): void => {
  const counts = typeof workers === "number" ? { max: workers } : workers
  // Processes come by themselves: none of them is kept warm.
  Workers.resize(model, endpoint, endpoint.settings.external === undefined ? counts : { ...counts, min: 0 })
  dispatch(model, endpoint)
}

const parse = (text: string | undefined): unknown => (text === undefined ? undefined : JSON.parse(text))

/** A job without what it was given and what it returned. */
const stateOf = ({ toClockTime }: Model, job: Job): JobState => ({
  id: job.id,
  endpointId: job.endpoint.id,
  operation: job.submission.operation,
  status: job.status,
  createdAt: toClockTime(job.createdAt),
  ...defined({
    error: parse(job.error),
    startedAt: job.startedAt === undefined ? undefined : toClockTime(job.startedAt),
    finishedAt: job.finishedAt === undefined ? undefined : toClockTime(job.finishedAt),
    workerId: job.workerId,
    delayTime: job.delayTime,
    coldStart: job.coldStart,
    executionTime: job.executionTime
  }),
  retries: job.retries,
  retried: job.retried,
  cancels: job.cancels,
  starts: job.starts,
  chunks: job.chunks.length
})

export const snapshot = (model: Model, job: Job): JobSnapshot => ({
  ...stateOf(model, job),
  input: job.submission.input,
  ...defined({ output: parse(job.output) })
})

export const changes = (model: Model, endpoint: Endpoint, { after = 0, limit = 10_000 }: ChangeOptions): JobChanges => {
  Retention.forgetExpired(model)
  const { kept, ...page } = endpoint.changes.read(after, limit)
  return { ...page, jobs: kept.map((job) => stateOf(model, job)) }
}
