import type { Workers } from "../../contract.js"
import * as Random from "../random.js"
import type { Fleet, Worker } from "./fleet.js"
import type { Endpoint, Model } from "./model.js"
import * as Processes from "./processes.js"

/** How many workers can take jobs. */
export const usable = ({ maxWorkers, throttled, unhealthy }: Fleet) => Math.max(0, maxWorkers - throttled - unhealthy)

const add = (
  { random, timer }: Model,
  fleet: Fleet,
  isReady: boolean,
  id = Random.workerId(random.workerIds)
): Worker => {
  const now = timer.now()
  const worker: Worker = { id, active: 0, isReady, startedAt: now, readyAt: now, idleSince: now, startAlarm: undefined }
  fleet.workers.add(worker)
  return worker
}

/** Dismisses workers that have been idle for too long, down to those that are always warm. */
export const dismissIdle = (model: Model, fleet: Fleet): void => {
  const now = model.timer.now()
  for (const worker of fleet.workers) {
    if (fleet.workers.size <= fleet.minWorkers) return
    const isIdle = worker.isReady && worker.active === 0
    if (isIdle && worker.idleSince + fleet.settings.idleTimeout <= now) fleet.workers.delete(worker)
  }
}

/** Begins a cold start, with `onReady` at its end; without one the worker is ready at once. */
export const start = (model: Model, fleet: Fleet, onReady: () => void, id?: string): Worker => {
  const { max, min } = fleet.settings.coldStart
  model.counters.counts.coldStarts++
  const millis = model.random.times.between(min, max)
  const worker = add(model, fleet, millis <= 0, id)
  if (worker.isReady) return worker
  worker.startAlarm = model.timer.set(model.timer.now() + millis, () => {
    worker.startAlarm = undefined
    worker.isReady = true
    worker.readyAt = worker.idleSince = model.timer.now()
    onReady()
  })
  return worker
}

/** A worker that can take a job now; else as many as the queue needs begin a cold start, with `onReady` at its end. */
export const acquire = (model: Model, endpoint: Endpoint, onReady: () => void): Worker | undefined => {
  dismissIdle(model, endpoint)
  if (endpoint.workers.size > usable(endpoint)) return undefined
  const { concurrency } = endpoint.settings
  let starting = 0
  for (const worker of endpoint.workers) {
    if (worker.isReady && worker.active < concurrency) return worker
    if (!worker.isReady) starting++
  }
  const missing = Math.ceil(endpoint.queue.size / concurrency) - starting
  for (let i = 0; i < missing && endpoint.workers.size < usable(endpoint); i++) {
    const worker = start(model, endpoint, onReady)
    if (worker.isReady) return worker
  }
  return undefined
}

/** The worker with this id, or any that is idle; a new one where there is none. */
export const named = (model: Model, endpoint: Endpoint, id: string | undefined): Worker => {
  for (const worker of endpoint.workers) {
    if (id === undefined ? worker.isReady && worker.active === 0 : worker.id === id) return worker
  }
  return add(model, endpoint, true, id)
}

/** Frees a worker of one job; when there are too many workers and it has no other job, it is dismissed. */
export const release = (model: Model, fleet: Fleet, worker: Worker): void => {
  worker.active--
  worker.idleSince = model.timer.now()
  if (worker.active === 0 && fleet.workers.size > usable(fleet)) fleet.workers.delete(worker)
}

/** Takes a worker away, whatever it does. */
export const remove = (model: Model, fleet: Fleet, worker: Worker): void => {
  if (worker.startAlarm !== undefined) model.timer.clear(worker.startAlarm)
  fleet.workers.delete(worker)
}

/** Workers with a job finish it first. */
export const resize = (model: Model, fleet: Fleet, workers: Workers): void => {
  const { max, min = 0, throttled = 0, unhealthy = 0 } = typeof workers === "number" ? { max: workers } : workers
  fleet.maxWorkers = max
  fleet.throttled = throttled
  fleet.unhealthy = unhealthy
  fleet.minWorkers = Math.min(usable(fleet), min)
  for (const worker of fleet.workers) {
    if (fleet.workers.size <= usable(fleet)) break
    if (worker.active > 0) continue
    remove(model, fleet, worker)
  }
  while (fleet.workers.size < fleet.minWorkers) add(model, fleet, true)
}

/** The request of a process whose turn it is to be given a job. */
export const nextTake = (endpoint: Endpoint) => Processes.nextTake(endpoint, usable(endpoint))

/** The workers by state, once those idle for too long have been dismissed. */
export const count = (
  model: Model,
  endpoint: Endpoint
): Readonly<Record<"idle" | "starting" | "running" | "unhealthy", number>> => {
  dismissIdle(model, endpoint)
  Processes.dismissSilent(model, endpoint)
  const healthy = [...endpoint.processes.values()].filter(({ isUnhealthy }) => !isUnhealthy)
  const unhealthy = endpoint.unhealthy + endpoint.processes.size - healthy.length
  const counts = { idle: 0, starting: 0, running: 0, unhealthy }
  for (const worker of [...endpoint.workers, ...healthy]) {
    if (!worker.isReady) counts.starting++
    else if (worker.active > 0) counts.running++
    else counts.idle++
  }
  return counts
}

/** The numbers of jobs and workers that `/health` tells. */
export const gauges = (model: Model, endpoint: Endpoint) => {
  const { idle, running, starting, unhealthy } = count(model, endpoint)
  const { completed, failed, inProgress, planned, queue, retried, throttled } = endpoint
  return {
    jobs: { completed, failed, inProgress, inQueue: queue.size + planned.size, retried },
    workers: { idle, initializing: starting, ready: idle, running, throttled, unhealthy }
  }
}
