import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Service } from "../contract.js"
import type { Parts } from "./http/requestHandler.js"
import * as Lifecycle from "./jobs/lifecycle.js"
import type { Endpoint } from "./jobs/model.js"
import * as Retention from "./jobs/retention.js"

/** The control of an emulator. */
export const make = ({ batches, counters, faults, model }: Parts): Service => {
  const withEndpoint = <A>(endpointId: string, f: (endpoint: Endpoint) => A): Effect.Effect<A> =>
    Effect.suspend(() => {
      const endpoint = model.endpoints.get(endpointId)
      return endpoint === undefined
        ? Effect.dieMessage(`the emulator has no endpoint "${endpointId}"`)
        : Effect.sync(() => f(endpoint))
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
    requests: Effect.sync(() => counters.requests()),
    deliveries: Effect.sync(() => counters.deliveries()),
    counts: Effect.sync(() => counters.counts()),
    resetCounts: Effect.sync(() => counters.reset()),
    faults: Effect.sync(() => faults.get()),
    setFaults: (next) => Effect.sync(() => faults.set(next)),
    setWorkers: (endpointId, workers) =>
      withEndpoint(endpointId, (endpoint) => Lifecycle.setWorkers(model, endpoint, workers)),
    end: (endpointId, jobId, end) =>
      withEndpoint(endpointId, (endpoint) => {
        const job = Retention.find(model, endpoint, jobId)
        return job !== undefined && Lifecycle.end(model, job, end)
      }),
    batches: (endpointId) =>
      withEndpoint(endpointId, (endpoint) => batches.list(endpoint).map((batch) => batches.snapshot(batch))),
    failBatch: (endpointId, batchId) =>
      withEndpoint(endpointId, (endpoint) => {
        const batch = batches.find(endpoint, batchId)
        if (batch !== undefined) batches.fail(batch)
        return batch !== undefined
      })
  }
}
