import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Heap } from "../../internal/pace/heap.js"
import { monotonicMillis, wallMillis } from "../../internal/pace/monotonic.js"
import * as Timer from "../../internal/pace/timer.js"
import * as RateLimits from "../../layers/RateLimits.js"
import type { Deliver, Options, Service } from "../contract.js"
import { Counters } from "./counters.js"
import * as Deliveries from "./deliveries.js"
import { Faults } from "./faults.js"
import { Limits } from "./http/limits.js"
import type { HttpRequest, Transmission } from "./http/messages.js"
import * as RequestHandler from "./http/requestHandler.js"
import * as Batches from "./jobs/batches.js"
import type { JobResult } from "./jobs/handler.js"
import { LoadBalancer } from "./loadBalancer/model.js"
import * as LoadBalancers from "./loadBalancer/routing.js"
import * as Lifecycle from "./jobs/lifecycle.js"
import { Endpoint, type Model } from "./jobs/model.js"
import * as Retention from "./jobs/retention.js"
import * as Workers from "./jobs/workers.js"
import * as Random from "./random.js"
import * as Environment from "./worker/environment.js"
import * as WorkerApi from "./worker/workerApi.js"

export interface Core {
  readonly handle: (request: HttpRequest) => Effect.Effect<Transmission>
  readonly control: Service
  /** The environment of a worker of an endpoint whose workers are processes; `url` is the base URL of the server. */
  readonly workerEnvironment: (
    endpointId: string,
    options: { readonly url: string; readonly workerId?: string | undefined }
  ) => Effect.Effect<Readonly<Record<string, string>>>
}

/** Closing the scope interrupts the handlers that run; their jobs stay IN_PROGRESS. */
const makeModel = Effect.fnUntraced(function* (options: Options, deliver: Deliver) {
  const { seed = 0 } = options
  const counters = new Counters()
  const clock = yield* Effect.clock
  const startedAt = monotonicMillis(clock)
  const faults = new Faults(options.faults ?? [], seed, counters, () => monotonicMillis(clock) - startedAt)
  const onEnd = yield* Deliveries.make(deliver, faults, counters)
  const forkHandler = yield* FiberSet.makeRuntime<never, JobResult, never>()
  // Closed before the handlers are interrupted: no alarm starts a job meanwhile.
  const timer = yield* Timer.make
  const epoch = wallMillis(clock) - timer.now()
  const endpoints = Object.entries(options.endpoints).map(([id, of]) => [id, new Endpoint(id, of)] as const)
  const balancers = Object.entries(options.loadBalancers ?? {}).map(
    ([id, of]) => [id, new LoadBalancer(id, of)] as const
  )
  const model: Model = {
    endpoints: new Map(endpoints),
    loadBalancers: new Map(balancers),
    endedJobs: new Heap(),
    clock,
    timer,
    counters,
    faults,
    random: {
      ids: Random.make(seed, "ids"),
      batchIds: Random.make(seed, "batches"),
      times: Random.make(seed, "times"),
      workerIds: Random.make(seed, "workers"),
      timeouts: Random.make(seed, "delays")
    },
    forkHandler: (effect) => forkHandler(Effect.interruptible(effect)),
    onEnd,
    toClockTime: (millis) => Math.round(epoch + millis),
    isClosed: false
  }
  yield* Effect.addFinalizer(() => Effect.sync(() => (model.isClosed = true)))
  for (const [id, endpoint] of endpoints) Lifecycle.setWorkers(model, endpoint, options.endpoints[id]?.workers ?? 3)
  for (const [id, balancer] of balancers) {
    LoadBalancers.setWorkers(model, balancer, options.loadBalancers?.[id]?.workers ?? 3)
  }
  return model
})

const controlOf = (model: Model): Service => {
  const { counters, faults } = model
  const withEndpoint = <A>(endpointId: string, f: (endpoint: Endpoint) => A): Effect.Effect<A> =>
    Effect.suspend(() => {
      const endpoint = model.endpoints.get(endpointId)
      return endpoint === undefined
        ? Effect.dieMessage(`The emulator has no endpoint "${endpointId}"`)
        : Effect.sync(() => f(endpoint))
    })
  const withBalancer = <A>(id: string, f: (balancer: LoadBalancer) => A): Effect.Effect<A> =>
    Effect.suspend(() => {
      const balancer = model.loadBalancers.get(id)
      return balancer === undefined
        ? Effect.dieMessage(`The emulator has no load-balancing endpoint "${id}"`)
        : Effect.sync(() => f(balancer))
    })

  return {
    jobs: (endpointId) =>
      withEndpoint(endpointId, (endpoint) =>
        Retention.list(model, endpoint).map((job) => Lifecycle.snapshot(model, job))
      ),
    job: (endpointId, jobId) =>
      withEndpoint(endpointId, (endpoint) =>
        Option.map(Option.fromNullable(Retention.find(model, endpoint, jobId)), (job) => Lifecycle.snapshot(model, job))
      ),
    changes: (endpointId, options = {}) =>
      withEndpoint(endpointId, (endpoint) => Lifecycle.changes(model, endpoint, options)),
    health: (endpointId) =>
      withEndpoint(endpointId, (endpoint) => {
        const gauges = Workers.gauges(model, endpoint)
        return { ...gauges, raw: gauges }
      }),
    requests: Effect.sync(() => counters.requests.copy()),
    deliveries: Effect.sync(() => counters.deliveries.copy()),
    counts: Effect.sync(() => counters.copyCounts()),
    resetCounts: Effect.sync(() => counters.reset()),
    faults: Effect.sync(() => faults.get()),
    setFaults: (next) => Effect.sync(() => faults.set(next)),
    setWorkers: (endpointId, workers) =>
      model.loadBalancers.has(endpointId)
        ? withBalancer(endpointId, (balancer) => LoadBalancers.setWorkers(model, balancer, workers))
        : withEndpoint(endpointId, (endpoint) => Lifecycle.setWorkers(model, endpoint, workers)),
    end: (endpointId, jobId, end) =>
      withEndpoint(endpointId, (endpoint) => {
        const job = Retention.find(model, endpoint, jobId)
        return job !== undefined && Lifecycle.end(model, job, end)
      }),
    retry: (endpointId, jobId) =>
      withEndpoint(endpointId, (endpoint) => {
        const job = Retention.find(model, endpoint, jobId)
        return job !== undefined && Lifecycle.retry(model, job)
      }),
    loadBalancer: (id) => withBalancer(id, (balancer) => LoadBalancers.snapshot(model, balancer)),
    killWorker: (id, workerId) => withBalancer(id, (balancer) => LoadBalancers.kill(model, balancer, workerId)),
    batches: (endpointId) =>
      withEndpoint(endpointId, ({ batches }) => [...batches.values()].map((batch) => Batches.snapshot(model, batch))),
    failBatch: (endpointId, batchId) =>
      withEndpoint(endpointId, ({ batches }) => {
        const batch = batches.get(batchId)
        if (batch !== undefined) Batches.stop(model, batch, "FAILED")
        return batch !== undefined
      })
  }
}

/** `deliver` is how webhooks are delivered when the options do not say it. */
export const make = (options: Options, deliver: Deliver): Effect.Effect<Core, never, Scope.Scope> =>
  Effect.map(makeModel(options, options.deliver ?? deliver), (model) => {
    const apiKey = Redacted.isRedacted(options.apiKey) ? Redacted.value(options.apiKey) : options.apiKey
    const limits = new Limits(options.limits ?? { operations: RateLimits.table })
    const workerKey = Random.uuid(Random.make(options.seed ?? 0, "key of the workers"))
    const parts = { model, limits, apiKey, workerKey }
    const hasProcesses = [...model.endpoints.values()].some(({ settings }) => settings.external !== undefined)
    return {
      handle: (request) =>
        (hasProcesses ? WorkerApi.handle(parts, request) : undefined) ?? RequestHandler.handle(parts, request),
      control: controlOf(model),
      workerEnvironment: (endpointId, { url, workerId }) =>
        Effect.suspend(() => {
          const external = model.endpoints.get(endpointId)?.settings.external
          if (external === undefined) {
            return Effect.dieMessage(`The emulator has no endpoint "${endpointId}" with externalWorkers`)
          }
          const { pingInterval } = external
          const id = workerId ?? Random.workerId(model.random.workerIds)
          return Effect.succeed(Environment.make({ endpointId, key: workerKey, pingInterval, url, workerId: id }))
        })
    }
  })
