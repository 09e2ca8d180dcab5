import { lostAfter } from "../worker/settings.js"
import type { Worker } from "./fleet.js"
import { type Endpoint, type Job, type Model, type Take, wake, type WorkerProcess } from "./model.js"

/** Forgets the workers without a job that have not been heard of for so long that a job would be lost. */
export const dismissSilent = (model: Model, endpoint: Endpoint): void => {
  const before = model.timer.now() - (endpoint.settings.external?.lostAfter ?? lostAfter)
  for (const { active, heardAt, held, id } of endpoint.processes.values()) {
    if (active === 0 && held === 0 && heardAt <= before) endpoint.processes.delete(id)
  }
}

/** The worker with this id, of which a request has come. Whoever asks with an id is a worker, and one more with a new id. */
export const hear = (model: Model, endpoint: Endpoint, id: string): WorkerProcess => {
  const now = model.timer.now()
  const known = endpoint.processes.get(id)
  if (known !== undefined) {
    known.heardAt = now
    return known
  }
  const worker: WorkerProcess = {
    id,
    active: 0,
    // It is ready when it asks for a job.
    isReady: false,
    startedAt: now,
    readyAt: now,
    idleSince: now,
    startAlarm: undefined,
    heardAt: now,
    held: 0,
    isUnhealthy: false,
    isStopping: false,
    jobs: new Set(),
    stops: new Set(),
    stopWaiters: new Set()
  }
  dismissSilent(model, endpoint)
  endpoint.processes.set(id, worker)
  model.counters.counts.coldStarts++
  return worker
}

/** The next request for jobs that may be served while at most `max` workers have jobs. */
export const nextTake = (endpoint: Endpoint, max: number): Take | undefined => {
  let running = 0
  for (const { active } of endpoint.processes.values()) if (active > 0) running++
  for (const take of endpoint.takes) {
    const { active, isStopping } = take.worker
    if (!isStopping && (active > 0 ? running <= max : running < max)) return take
  }
  return undefined
}

/** The worker as the process that it is. */
export const find = ({ processes }: Endpoint, { id }: Worker): WorkerProcess | undefined => processes.get(id)

export const assign = (worker: WorkerProcess, job: Job): void => {
  worker.jobs.add(job)
  worker.stops.delete(job.id)
}

/** Takes a job from a process, which hears of that with its next request for such news. */
export const tellToStop = (worker: WorkerProcess, job: Job): void => {
  if (!worker.jobs.delete(job)) return
  worker.stops.add(job.id)
  wake(worker.stopWaiters)
}

export const release = (model: Model, endpoint: Endpoint, worker: WorkerProcess): void => {
  worker.active--
  worker.idleSince = model.timer.now()
  forgetStopped(endpoint, worker)
}

/** A worker has asked to be replaced. What it is still asking for, it would not work on. */
export const replace = (endpoint: Endpoint, worker: WorkerProcess): void => {
  worker.isStopping = true
  forgetStopped(endpoint, worker)
}

const forgetStopped = ({ processes }: Endpoint, worker: WorkerProcess): void => {
  if (worker.isStopping && worker.active === 0 && processes.get(worker.id) === worker) processes.delete(worker.id)
}
