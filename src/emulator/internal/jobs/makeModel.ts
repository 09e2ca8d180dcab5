import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import { Heap } from "../../../internal/pace/heap.js"
import { wallMillis } from "../../../internal/pace/monotonic.js"
import * as Timer from "../../../internal/pace/timer.js"
import type { EndpointOptions } from "../../contract.js"
import type { Counters } from "../counters.js"
import * as Random from "../random.js"
import type { JobResult } from "./handler.js"
import * as Lifecycle from "./lifecycle.js"
import { type Endpoint, type Job, makeEndpoint, type Model } from "./model.js"

/** Closing the scope interrupts the handlers that run; their jobs stay IN_PROGRESS. */
export const make = Effect.fnUntraced(function* (options: {
  readonly endpoints: Readonly<Record<string, EndpointOptions>>
  readonly seed: number | string
  readonly counters: Counters
  readonly onEnd: (job: Job) => void
}): Effect.fn.Return<Model, never, Scope.Scope> {
  const { counters, onEnd, seed } = options
  const clock = yield* Effect.clock
  const forkHandler = yield* FiberSet.makeRuntime<never, JobResult, never>()
  // Closed before the handlers are interrupted: no alarm starts a job meanwhile.
  const timer = yield* Timer.make
  const epoch = wallMillis(clock) - timer.now()
  const endpoints = new Map<string, Endpoint>()
  const model: Model = {
    endpoints,
    endedJobs: new Heap(),
    clock,
    timer,
    counters,
    random: {
      ids: Random.make(seed, "ids"),
      times: Random.make(seed, "times"),
      workerIds: Random.make(seed, "workers"),
      timeouts: Random.make(seed, "delays")
    },
    forkHandler: (effect) => forkHandler(Effect.interruptible(effect)),
    onEnd,
    toClockTime: (millis) => Math.round(epoch + millis),
    isClosed: false
  }
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      model.isClosed = true
    })
  )
  for (const [id, endpointOptions] of Object.entries(options.endpoints)) {
    const endpoint = makeEndpoint(id, endpointOptions)
    endpoints.set(id, endpoint)
    Lifecycle.setWorkers(model, endpoint, endpointOptions.workers ?? 3)
  }
  return model
})
