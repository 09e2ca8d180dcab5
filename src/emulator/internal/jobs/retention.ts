import { type Endpoint, type Job, type Model, wake } from "./model.js"

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
  job.noteChange()
  model.endedJobs.remove(job.endedEntry)
  if (job.ttlAlarm !== undefined) model.timer.clear(job.ttlAlarm)
  wake(job.endWaiters, job.chunkWaiters)
}

export const forgetExpired = (model: Model): void => {
  const now = model.timer.now()
  const { endedJobs } = model
  for (let next = endedJobs.peek(); next !== undefined && next.at <= now; next = endedJobs.peek()) {
    forget(model, next.job)
  }
}

export const find = (model: Model, endpoint: Endpoint, jobId: string): Job | undefined => {
  const job = endpoint.jobs.get(jobId)
  if (job === undefined || job.finishedAt === undefined || model.timer.now() < job.endedEntry.at) return job
  forget(model, job)
  return undefined
}

export const list = (model: Model, endpoint: Endpoint): ReadonlyArray<Job> => {
  forgetExpired(model)
  return [...endpoint.jobs.values()]
}
