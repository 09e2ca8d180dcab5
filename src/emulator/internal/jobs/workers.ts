import type { Workers } from "../../contract.js"
import * as Random from "../random.js"
import type { Endpoint, Model, Worker } from "./model.js"

/** How many workers can take jobs. */
const usable = ({ maxWorkers, throttled, unhealthy }: Endpoint) => Math.max(0, maxWorkers - throttled - unhealthy)

const add = (
  { random, timer }: Model,
  endpoint: Endpoint,
  isReady: boolean,
  id = Random.workerId(random.workerIds)
): Worker => {
  const worker: Worker = { id, active: 0, isReady, idleSince: timer.now(), startAlarm: undefined }
  endpoint.workers.add(worker)
  return worker
}

/** Dismisses workers that have been idle for too long, down to those that are always warm. */
const dismissIdle = (model: Model, endpoint: Endpoint): void => {
  const now = model.timer.now()
  for (const worker of endpoint.workers) {
    if (endpoint.workers.size <= endpoint.minWorkers) return
    const isIdle = worker.isReady && worker.active === 0
    if (isIdle && worker.idleSince + endpoint.settings.idleTimeout <= now) endpoint.workers.delete(worker)
  }
}

/** A worker that can take a job now; else as many as the queue needs begin a cold start, with `onReady` at its end. */
export const acquire = (model: Model, endpoint: Endpoint, onReady: () => void): Worker | undefined => {
  dismissIdle(model, endpoint)
  if (endpoint.workers.size > usable(endpoint)) return undefined
  const { coldStart, concurrency } = endpoint.settings
  let starting = 0
  for (const worker of endpoint.workers) {
    if (worker.isReady && worker.active < concurrency) return worker
    if (!worker.isReady) starting++
  }
  const missing = Math.ceil(endpoint.queue.size / concurrency) - starting
  for (let i = 0; i < missing && endpoint.workers.size < usable(endpoint); i++) {
    model.counters.counts.coldStarts++
    const millis = model.random.times.between(coldStart.min, coldStart.max)
    const worker = add(model, endpoint, millis <= 0)
    if (worker.isReady) return worker
    worker.startAlarm = model.timer.set(model.timer.now() + millis, () => {
      worker.startAlarm = undefined
      worker.isReady = true
      worker.idleSince = model.timer.now()
      onReady()
    })
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
export const release = (model: Model, endpoint: Endpoint, worker: Worker): void => {
  worker.active--
  worker.idleSince = model.timer.now()
  if (worker.active === 0 && endpoint.workers.size > usable(endpoint)) endpoint.workers.delete(worker)
}

/** Workers with a job finish it first. */
export const resize = (model: Model, endpoint: Endpoint, workers: Workers): void => {
  const { max, min = 0, throttled = 0, unhealthy = 0 } = typeof workers === "number" ? { max: workers } : workers
  endpoint.maxWorkers = max
  endpoint.throttled = throttled
  endpoint.unhealthy = unhealthy
  endpoint.minWorkers = Math.min(usable(endpoint), min)
  for (const worker of endpoint.workers) {
    if (endpoint.workers.size <= usable(endpoint)) break
    if (worker.active > 0) continue
    if (worker.startAlarm !== undefined) model.timer.clear(worker.startAlarm)
    endpoint.workers.delete(worker)
  }
  while (endpoint.workers.size < endpoint.minWorkers) add(model, endpoint, true)
}

/** The workers by state, once those idle for too long have been dismissed. */
export const count = (model: Model, endpoint: Endpoint): Readonly<Record<"idle" | "starting" | "running", number>> => {
  dismissIdle(model, endpoint)
  const counts = { idle: 0, starting: 0, running: 0 }
  for (const worker of endpoint.workers) {
    if (!worker.isReady) counts.starting++
    else if (worker.active > 0) counts.running++
    else counts.idle++
  }
  return counts
}
