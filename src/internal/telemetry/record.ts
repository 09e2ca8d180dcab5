/** What is counted of jobs. */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Struct from "effect/Struct"
import { type Health, Workers } from "../../schemas/Health.js"
import type * as Job from "../../schemas/Job.js"
import { withFiber } from "../effect/fiber.js"
import * as FiberRefs from "../effect/fiberRef.js"
import { deliveries, type EndpointMeters, type Labels, ofEndpoint } from "./instruments.js"

const withLabels = (update: (labels: Labels) => void): Effect.Effect<void> =>
  withFiber((fiber) => {
    update(FiberRefs.valueIn(fiber, FiberRef.currentMetricLabels))
    return Effect.void
  })

/** Updates the metrics of an endpoint, with the labels of the fiber besides. */
export const record = (endpointId: string, update: (meters: EndpointMeters, labels: Labels) => void) =>
  withLabels((labels) => update(ofEndpoint(endpointId), labels))

/** A job that is waited for, while it is. */
export class InFlight {
  private isCounted = false

  constructor(private readonly endpointId: string) {}

  private count(step: 1 | -1): Effect.Effect<void> {
    return record(this.endpointId, ({ inFlight }, labels) => {
      if (this.isCounted === step > 0) return
      this.isCounted = step > 0
      inFlight.unsafeModify(step, labels)
    })
  }

  begin(): Effect.Effect<void> {
    return this.count(1)
  }

  end(): Effect.Effect<void> {
    return this.count(-1)
  }
}

/**
 * A job was seen to end: after a wait of so many milliseconds, so many after its submit where that is known, having cost so many
 * USD where rates are.
 */
export const recordEnd = (
  endpointId: string,
  { delayTime, executionTime, status }: Job.Ended,
  {
    age,
    cost,
    waited
  }: { readonly waited: number; readonly age: number | undefined; readonly cost: number | undefined }
): Effect.Effect<void> =>
  record(endpointId, (meters, labels) => {
    meters.ended(status).unsafeUpdate(1, labels)
    meters.waitTime.unsafeUpdate(waited / 1000, labels)
    if (cost !== undefined) meters.cost.unsafeUpdate(cost, labels)
    if (delayTime !== undefined) meters.delayTime.unsafeUpdate(delayTime / 1000, labels)
    if (executionTime === undefined) return
    meters.executionTime.unsafeUpdate(executionTime / 1000, labels)
    if (age === undefined || delayTime === undefined) return
    meters.seenAfterEnd.unsafeUpdate(Math.max(0, age - delayTime - executionTime) / 1000, labels)
  })

/** The gauges of an endpoint, as `/health` has told them. */
export const recordHealth = (endpointId: string, { jobs, workers }: Health): Effect.Effect<void> =>
  record(endpointId, (meters, labels) => {
    for (const state of Struct.keys(Workers.fields)) {
      const count = workers[state]
      if (typeof count === "number") meters.workers(state).unsafeUpdate(count, labels)
    }
    for (const state of ["inQueue", "inProgress"] as const) {
      const count = jobs[state]
      if (typeof count === "number") meters.queue(state).unsafeUpdate(count, labels)
    }
  })

/** A delivery to the webhook receiver was answered with this status. */
export const recordDelivery = (status: number): Effect.Effect<void> =>
  withLabels((labels) => deliveries(status).unsafeUpdate(1, labels))
