import * as Holds from "./holds.js"
import type { Endpoint, Job, Model } from "./model.js"

/** Keeps an ended job until its retention or its ttl is over. */
export const keep = (model: Model, job: Job, endedAt: number): void => {
  const { endpoint, submission } = job
  if (job.ttlAlarm !== undefined) model.timer.clear(job.ttlAlarm)
  model.endedJobs.remove(job.endedEntry)
  const retention = endpoint.settings.retention[submission.operation]
  job.endedEntry.at = Math.min(endedAt + retention, job.createdAt + submission.ttl)
  model.endedJobs.add(job.endedEntry)
  forgetExpired(model)
}

/** From now on the job is not found; requests that are held for it are woken. */
export const forget = (model: Model, job: Job): void => {
  job.endpoint.jobs.delete(job.id)
  model.endedJobs.remove(job.endedEntry)
  if (job.ttlAlarm !== undefined) model.timer.clear(job.ttlAlarm)
  Holds.wakeAll(job)
}

export const forgetExpired = (model: Model): void => {
  const now = model.timer.now()
  const { endedJobs } = model
  for (let next = endedJobs.peek(); next !== undefined && next.at <= now; next = endedJobs.peek()) {
    forget(model, next.job)
  }
}

/** The job, unless it has been forgotten. */
export const find = (model: Model, endpoint: Endpoint, jobId: string): Job | undefined => {
  const job = endpoint.jobs.get(jobId)
  if (job === undefined || job.finishedAt === undefined || model.timer.now() < job.endedEntry.at) return job
  forget(model, job)
  return undefined
}

/** All jobs that are still kept, in the order of their submits. */
export const list = (model: Model, endpoint: Endpoint): ReadonlyArray<Job> => {
  forgetExpired(model)
  return [...endpoint.jobs.values()]
}
