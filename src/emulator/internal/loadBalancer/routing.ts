import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { LoadBalancerSnapshot, Workers as WorkerCounts } from "../../contract.js"
import type { HttpResponse } from "../http/messages.js"
import { badRequest, problem } from "../http/responses.js"
import type { Worker } from "../jobs/fleet.js"
import type { Model } from "../jobs/model.js"
import * as Workers from "../jobs/workers.js"
import type { Affinity, Exchange, LoadBalancer } from "./model.js"

/** How long a request waits for a worker, in milliseconds: for any, or for the one it insists on. */
const waits = { any: 120_000, strict: 300_000 }

/** How often workers are looked at while requests wait or workers are initializing, in milliseconds. */
const pingEvery = 1000

const noWorkers = badRequest("no workers available")
const timedOut = badRequest("timed out waiting for worker")
const strictTimedOut = problem(400, "timed out waiting for worker", "worker_timeout")
const workerGone = problem(404, "affinity_worker_gone", "affinity_worker_gone")

/** Reads the header `X-Runpod-Worker-Id`. */
export const parseAffinity = (header: string | undefined): Affinity => {
  const [first = "", second] = header?.trim().split(/\s+/) ?? []
  if (first === "") return { mode: "any" }
  if (second === undefined) return { mode: "prefer", workerId: first }
  return first === "strict" || first === "strict-resume"
    ? { mode: first, workerId: second }
    : { mode: "prefer", workerId: first }
}

const isStrict = ({ mode }: Affinity): boolean => mode === "strict" || mode === "strict-resume"

const withId = (balancer: LoadBalancer, id: string): Worker | undefined => {
  for (const worker of balancer.workers) if (worker.id === id) return worker
  return undefined
}

const canTake = (model: Model, balancer: LoadBalancer, worker: Worker): boolean =>
  worker.isReady &&
  worker.active < balancer.settings.concurrency &&
  balancer.statusOf(worker, model.timer.now()) === "healthy"

/** The healthy worker with the fewest requests, of those that have room. */
const leastBusy = (model: Model, balancer: LoadBalancer): Worker | undefined => {
  let found: Worker | undefined
  for (const worker of balancer.workers) {
    if (found !== undefined && worker.active >= found.active) continue
    if (canTake(model, balancer, worker)) found = worker
  }
  return found
}

/** Where a request goes now: to a worker, or away with a refusal; `undefined` while it has to wait. */
const decide = (model: Model, balancer: LoadBalancer, { affinity }: Exchange): Worker | HttpResponse | undefined => {
  if (Workers.usable(balancer) === 0) return noWorkers
  if (affinity.mode === "any") return leastBusy(model, balancer)
  const { mode, workerId } = affinity
  const wanted = withId(balancer, workerId)
  if (wanted !== undefined && canTake(model, balancer, wanted)) return wanted
  if (mode === "prefer") return leastBusy(model, balancer)
  if (wanted !== undefined) return undefined
  if (mode === "strict" || !balancer.resumable.has(workerId)) return workerGone
  if (balancer.workers.size >= Workers.usable(balancer)) return undefined
  const resumed = Workers.start(model, balancer, () => assign(model, balancer), workerId)
  return canTake(model, balancer, resumed) ? resumed : undefined
}

export const isWorker = (end: Worker | HttpResponse): end is Worker => "active" in end

const leaveQueue = (model: Model, balancer: LoadBalancer, exchange: Exchange): void => {
  balancer.waiting.delete(exchange)
  if (exchange.alarm !== undefined) model.timer.clear(exchange.alarm)
  exchange.alarm = undefined
}

/** Starts workers for those who wait for any, as many as it takes. */
const scaleUp = (model: Model, balancer: LoadBalancer): boolean => {
  let waiting = 0
  for (const { affinity } of balancer.waiting) if (!isStrict(affinity)) waiting++
  let missing = Math.ceil(waiting / balancer.settings.concurrency)
  for (const worker of balancer.workers) if (balancer.statusOf(worker, model.timer.now()) === "initializing") missing--
  let hasStarted = false
  while (missing-- > 0 && balancer.workers.size < Workers.usable(balancer)) {
    const { isReady } = Workers.start(model, balancer, () => assign(model, balancer))
    hasStarted ||= isReady
  }
  return hasStarted
}

/** Dismisses workers that have been idle for too long: the time begins when they are seen to be no longer initializing. */
const dismissIdle = (model: Model, balancer: LoadBalancer): void => {
  const now = model.timer.now()
  for (const worker of balancer.workers) {
    const isInitializing = balancer.statusOf(worker, now) === "initializing"
    if (isInitializing || !balancer.initialized.has(worker)) worker.idleSince = now
    if (isInitializing) balancer.initialized.delete(worker)
    else balancer.initialized.add(worker)
  }
  Workers.dismissIdle(model, balancer)
}

/** Whether time alone brings changes: in the answers of health checks, and where an idle worker makes room for one to resume. */
const isLookedAt = (model: Model, balancer: LoadBalancer): boolean => {
  const { hasPing, waiting, workers } = balancer
  if ([...waiting].some(({ affinity }) => hasPing || affinity.mode === "strict-resume")) return true
  const now = model.timer.now()
  return hasPing && [...workers].some((worker) => balancer.statusOf(worker, now) === "initializing")
}

/** Gives those who wait to the workers that can take them, starts workers for the others, and comes back for their health. */
export const assign = (model: Model, balancer: LoadBalancer): void => {
  if (model.isClosed) return
  dismissIdle(model, balancer)
  do {
    for (const exchange of balancer.waiting) {
      const end = decide(model, balancer, exchange)
      if (end === undefined) continue
      leaveQueue(model, balancer, exchange)
      if (isWorker(end)) occupy(balancer, exchange, end)
      exchange.resume(end)
    }
  } while (scaleUp(model, balancer))
  if (balancer.pingAlarm !== undefined || !isLookedAt(model, balancer)) return
  balancer.pingAlarm = model.timer.set(model.timer.now() + pingEvery, () => {
    balancer.pingAlarm = undefined
    assign(model, balancer)
  })
}

const occupy = (balancer: LoadBalancer, exchange: Exchange, worker: Worker): void => {
  worker.active++
  exchange.worker = worker
  balancer.running.add(exchange)
  balancer.resumable.add(worker.id)
}

/** Looks for a worker; the exchange is told when there is one, or none in time. */
export const enter = (model: Model, balancer: LoadBalancer, exchange: Exchange): void => {
  const strict = isStrict(exchange.affinity)
  balancer.waiting.add(exchange)
  const millis = strict ? waits.strict : waits.any
  exchange.alarm = model.timer.set(model.timer.now() + millis, () => {
    leaveQueue(model, balancer, exchange)
    exchange.resume(strict ? strictTimedOut : timedOut)
  })
  assign(model, balancer)
}

/** Frees what the exchange still has: its place among those who wait, or its worker. */
export const leave = (model: Model, balancer: LoadBalancer, exchange: Exchange): void => {
  leaveQueue(model, balancer, exchange)
  const { worker } = exchange
  if (worker === undefined || !balancer.running.delete(exchange)) return
  Workers.release(model, balancer, worker)
  assign(model, balancer)
}

/** Takes a worker away for good; the answers it is giving break off. */
export const kill = (model: Model, balancer: LoadBalancer, workerId: string): boolean => {
  const worker = withId(balancer, workerId)
  if (worker === undefined) return false
  Workers.remove(model, balancer, worker)
  balancer.resumable.delete(workerId)
  for (const exchange of balancer.running) {
    if (exchange.worker === worker) Deferred.unsafeDone(exchange.cut, Effect.fail("killed"))
  }
  while (balancer.workers.size < balancer.minWorkers) Workers.start(model, balancer, () => assign(model, balancer))
  assign(model, balancer)
  return true
}

export const setWorkers = (model: Model, balancer: LoadBalancer, workers: WorkerCounts): void => {
  Workers.resize(model, balancer, workers)
  assign(model, balancer)
}

export const snapshot = (model: Model, balancer: LoadBalancer): LoadBalancerSnapshot => {
  dismissIdle(model, balancer)
  const workers = [...balancer.workers].map((worker) => ({
    id: worker.id,
    status: balancer.statusOf(worker, model.timer.now()),
    requests: worker.active
  }))
  return { workers, waiting: balancer.waiting.size }
}
