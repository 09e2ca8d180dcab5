/**
 * What work on RunPod costs, in USD, at rates that the program gives, and a budget that bounds it.
 *
 * A program that provides `Cost.layer` gets the cost of its batches in their reports, and may bound a batch (`maxCost` of its
 * options) or all that is submitted (`maxCost` of the layer). Without it nothing changes. docs/cost.md says how each number is
 * computed, and what a budget does not bound.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import { Budget as BudgetOf } from "../internal/cost/budget.js"
import * as WorkerLives from "../internal/cost/workerLives.js"
import { defined } from "../internal/text/json.js"
import type { JobStatus } from "../schemas/JobStatus.js"

/**
 * What one GPU costs, in USD a second.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rate {
  /** Of a worker that RunPod starts and stops as there is work. */
  readonly flex: number
  /** Of a worker that always runs. Default: as `flex`. */
  readonly active?: number | undefined
}

/**
 * Rates by GPU, made with `rates`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rates {
  /** By the name that the program has for a GPU, such as RunPod's. */
  readonly gpus: ReadonlyMap<string, Readonly<Record<keyof Rate, number>>>
}

/**
 * Rates from a table: USD a second of one GPU, by its name. Take the prices from RunPod's page when you write it, and note the
 * day: the package has none, since they change. A rate below 0, or none, is a RangeError.
 *
 * @example
 * ```ts
 * import { Cost } from "effect-runpod"
 *
 * // Of 2026-11-25.
 * export const rates = Cost.rates({ "NVIDIA L4": { flex: 0.00019, active: 0.00013 } })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const rates = (table: Readonly<Record<string, Rate>>): Rates => ({
  gpus: new Map(
    Object.entries(table).map(([gpu, { active, flex }]) => {
      const rate = { flex, active: active ?? flex }
      for (const [kind, value] of Object.entries(rate)) checkNumber(`the ${kind} rate of "${gpu}"`, value, 0)
      return [gpu, rate]
    })
  )
})

/**
 * The workers of an endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Workers {
  /** Their GPU, as the rates name it. Of an endpoint with several, the dearest: where `gpuOf` tells more, it counts for the rest. */
  readonly gpu: string
  /** How many GPUs a worker has. Default: 1. */
  readonly gpuCount?: number | undefined
  /** Which rate counts. Default: `flex`. */
  readonly workers?: "flex" | "active" | undefined
  /** How many jobs a worker runs at once, which share what it costs. Default: 1. */
  readonly concurrency?: number | undefined
  /** How long a worker takes to start, which is billed. For the estimate. RunPod does not tell. Default: 0. */
  readonly startTime?: Duration.DurationInput | undefined
  /** The endpoint's idle timeout: how long a worker waits for another job, billed, before it stops. For the estimate. Default: 5 seconds. */
  readonly idleTimeout?: Duration.DurationInput | undefined
  /**
   * How long a job is expected to run, for a budget until one of them has ended. Default: not known. Then as many jobs go at first as
   * the budget has room for if each ran until its `executionTimeout`, and at least one.
   */
  readonly expectedExecution?: Duration.DurationInput | undefined
}

/**
 * What is known of workers.
 *
 * @since 0.1.0
 * @category models
 */
export interface WorkerOptions extends Omit<Workers, "gpu"> {
  /** See `Workers`. Default: not known, and so is what work costs. */
  readonly gpu?: string | undefined
}

/**
 * The options of `Cost`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends WorkerOptions {
  readonly rates: Rates
  /** The workers of endpoints that differ, by the endpoint's id; what is left out is as above. */
  readonly endpoints?: Readonly<Record<string, WorkerOptions>> | undefined
  /** The GPU of a worker where the program knows it, as the rates name it. It has to answer at once. Default: never known. */
  readonly gpuOf?: ((endpointId: string, workerId: string) => string | undefined) | undefined
  /**
   * What RunPod has billed for an endpoint, in USD, between two times in milliseconds of the clock. It is asked at the end of a
   * batch, and may not know. Default: not known.
   */
  readonly billed?: Service["billed"]
  /**
   * The budget, in USD, of all that is submitted under the layer: by `Endpoint.run`, `call`, `runSync`, `callStream`, by batches, and
   * by `retry` of a handle. What has no room in it fails with `BudgetExceededError` before anything is sent; a batch stops. Default: no bound.
   */
  readonly maxCost?: number | undefined
}

/**
 * What is known of a job's time on a worker.
 *
 * @since 0.1.0
 * @category models
 */
export interface Work {
  readonly workerId?: string | undefined
  /** Milliseconds on the worker; missing when it is not known. */
  readonly executionTime?: number | undefined
  /** When it began there, in milliseconds of any one clock; missing when it is not known. */
  readonly startedAt?: number | undefined
  readonly status?: JobStatus | undefined
  /** `Completed`: its output is there. `Failed`: it is not, or not what the schema says. `Retried`: another attempt has followed it. */
  readonly end: "Completed" | "Failed" | "Retried"
}

/**
 * What jobs cost, in USD.
 *
 * @since 0.1.0
 * @category models
 */
export interface Summary {
  readonly currency: "USD"
  /** Their time on workers at its rate: what they cost at the least. */
  readonly floor: number
  /** What their workers cost from start to stop: starts, work, waits for another job and idle timeouts. */
  readonly estimate: number
  /** The part of `floor` that went into jobs whose output is not there, or not what the schema says. */
  readonly failed: number
  /** The part of `floor` that went into attempts that another one followed. */
  readonly retried: number
  /** How many jobs may have run of which no time is known: they are in no number. */
  readonly unknown: number
}

/**
 * What a batch has cost, in USD: numbers that are measured in different ways, and not to be added up.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report extends Summary {
  /** What RunPod has billed for the endpoint meanwhile, work of others included, as `billed` tells. */
  readonly billed?: number | undefined
  /** What earlier runs with the same journal had spent on the items of the report, which is in no other number. */
  readonly earlier: Pick<Summary, "floor" | "estimate">
}

/**
 * Where a budget stands, in USD.
 *
 * @since 0.1.0
 * @category models
 */
export interface BudgetState {
  readonly _tag: "BudgetState"
  readonly maxCost: number
  /** By jobs that have ended. One whose time nobody knows counts as what the next may cost. */
  readonly spent: number
  /** What those in flight may add: each as much as the next. */
  readonly inFlight: number
  /** What one more may cost: the 90th percentile of the endpoint's jobs so far. Before enough have ended, what is expected. */
  readonly next: number
}

/**
 * Room for a job in a budget. The first of `release`, `end` and the end of a job that was named gives it back.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reservation {
  readonly _tag: "Reservation"
  /** Nothing was started. */
  readonly release: () => void
  /** The job has this id: its end is told to `Budget.ended`. */
  readonly started: (jobId: string) => void
  /** The job has ended, at this cost in USD; `undefined` where nobody knows it. */
  readonly end: (cost: number | undefined) => void
}

/**
 * What a job is expected to cost before one of its endpoint has ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Expected {
  /** In USD. */
  readonly cost: number
  /** Whether that is what it may cost at most, since nobody has said what to expect. */
  readonly isGuess: boolean
}

/**
 * The budget of a layer. Its methods answer at once, so that a check and its reservation are one step.
 *
 * @since 0.1.0
 * @category models
 */
export interface Budget {
  /** Where it stands; `next` is that of the endpoint. */
  readonly state: (endpointId: string) => BudgetState
  /** Reserves room for a job. Gives where the budget stands when there is none. */
  readonly reserve: (endpointId: string, expected: Expected) => Reservation | BudgetState
  /** A job that was started was seen to end. What was not, or was seen before, does not count. */
  readonly ended: (endpointId: string, jobId: string, cost: number | undefined) => void
}

/**
 * The service.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** What a worker of the endpoint costs, in USD a second; `undefined` where the options do not name the endpoint's GPU. */
  readonly rateOf: (endpointId: string, workerId?: string) => number | undefined
  /** What a job's time on its worker cost, in USD; `undefined` where the rate or the time is not known. */
  readonly costOf: (endpointId: string, job: Pick<Work, "executionTime" | "status" | "workerId">) => number | undefined
  /** What a job is expected to cost, by the options, or at the most by its `executionTimeout`; `undefined` where the rate is not known. */
  readonly expectedOf: (
    endpointId: string,
    known?: {
      /** Default: that of the endpoint's `Workers`. */
      readonly expectedExecution?: Duration.DurationInput | undefined
      /** Default: RunPod's, 10 minutes. */
      readonly executionTimeout?: Duration.DurationInput | undefined
    }
  ) => Expected | undefined
  /** What work on an endpoint costs; `undefined` where the rate is not known. */
  readonly summarize: (endpointId: string, works: Iterable<Work>) => Summary | undefined
  readonly billed?: ((endpointId: string, from: number, to: number) => Effect.Effect<number | undefined>) | undefined
  readonly budget?: Budget | undefined
}

/**
 * The tag of the service. Provide it before `Endpoint.make`, whose endpoints then use it.
 *
 * @since 0.1.0
 * @category tags
 */
export class Cost extends Context.Tag("effect-runpod/Cost")<Cost, Service>() {}

/** RunPod's default of `policy.executionTimeout`. */
const executionTimeout = "10 minutes"

/** The workers of an endpoint, decoded: times in milliseconds. */
interface Decoded {
  readonly rate: number
  readonly rateOf: (gpu: string | undefined) => number | undefined
  readonly workers: "flex" | "active"
  readonly concurrency: number
  readonly startTime: number
  readonly idleTimeout: number
  readonly expectedExecution: number | undefined
}

/** A function, since constants are defined in their order. */
function checkNumber(name: string, value: number, least: number): number {
  if (!(value >= least && value < Infinity))
    throw new RangeError(`${name} must be a number from ${least}, got ${value}`)
  return value
}

const millis = (name: string, duration: Duration.DurationInput): number =>
  checkNumber(`the ${name} in milliseconds`, Duration.toMillis(duration), 0)

const decode = ({ gpus }: Rates, options: WorkerOptions): Decoded | undefined => {
  const { concurrency = 1, expectedExecution, gpu, gpuCount = 1, idleTimeout = "5 seconds", startTime = 0 } = options
  const { workers = "flex" } = options
  checkNumber("gpuCount", gpuCount, 1)
  const rateOf = (name: string | undefined) => {
    const rate = name === undefined ? undefined : gpus.get(name)
    return rate && rate[workers] * gpuCount
  }
  const decoded = {
    workers,
    concurrency: checkNumber("the concurrency of a worker", concurrency, 1),
    startTime: millis("startTime", startTime),
    idleTimeout: millis("idleTimeout", idleTimeout),
    expectedExecution: expectedExecution === undefined ? undefined : millis("expectedExecution", expectedExecution)
  }
  const rate = rateOf(gpu)
  if (rate !== undefined) return { ...decoded, rate, rateOf }
  if (gpu === undefined) return undefined
  throw new RangeError(`there is no rate for the GPU "${gpu}", only for ${[...gpus.keys()].join(", ")}`)
}

/**
 * The service. An option that makes no sense, and a GPU that the rates do not name, is a defect (RangeError).
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({ billed, endpoints = {}, gpuOf, maxCost, rates, ...others }: Options): Effect.Effect<Service> =>
  Effect.sync(() => {
    const usual = decode(rates, others)
    const named = new Map(
      Object.entries(endpoints).map(([id, options]) => [id, decode(rates, { ...others, ...defined(options) })])
    )
    const workersOf = (endpointId: string) => named.get(endpointId) ?? usual
    const rateIn = ({ rate, rateOf }: Decoded, endpointId: string, workerId: string | undefined) =>
      (workerId === undefined ? undefined : rateOf(gpuOf?.(endpointId, workerId))) ?? rate
    return {
      rateOf: (endpointId, workerId) => {
        const workers = workersOf(endpointId)
        return workers && rateIn(workers, endpointId, workerId)
      },
      costOf: (endpointId, job) => {
        const workers = workersOf(endpointId)
        const time = WorkerLives.timeOf(job)
        if (workers === undefined || time === undefined) return undefined
        return (rateIn(workers, endpointId, job.workerId) * time) / 1000 / workers.concurrency
      },
      expectedOf: (endpointId, known = {}) => {
        const workers = workersOf(endpointId)
        if (workers === undefined) return undefined
        const expected = known.expectedExecution ?? workers.expectedExecution
        const time = Duration.toMillis(expected ?? known.executionTimeout ?? executionTimeout)
        return { cost: (workers.rate * time) / 1000 / workers.concurrency, isGuess: expected === undefined }
      },
      summarize: (endpointId, works) => {
        const workers = workersOf(endpointId)
        const rateOf = (workerId: string | undefined) => (workers ? rateIn(workers, endpointId, workerId) : 0)
        return workers && WorkerLives.summarize(works, { ...workers, rateOf })
      },
      billed,
      budget: maxCost === undefined ? undefined : new BudgetOf(maxCost)
    }
  })

/**
 * The service as a layer; provide it beside that of `RunPod`.
 *
 * @example
 * ```ts
 * import { Cost } from "effect-runpod"
 *
 * export const cost = Cost.layer({
 *   rates: Cost.rates({ "NVIDIA L4": { flex: 0.00019 } }),
 *   gpu: "NVIDIA L4",
 *   startTime: "20 seconds",
 *   maxCost: 5
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Cost> => Layer.effect(Cost, make(options))

/**
 * The cost of some work on workers of one kind, from facts alone. What is wrong with the options is a RangeError.
 *
 * @since 0.1.0
 * @category combinators
 */
export const summarize: {
  (options: Workers & Pick<Options, "rates">): (works: Iterable<Work>) => Summary
  (works: Iterable<Work>, options: Workers & Pick<Options, "rates">): Summary
} = /* @__PURE__ */ dual(
  2,
  (works: Iterable<Work>, { rates, ...options }: Workers & Pick<Options, "rates">): Summary => {
    const workers = decode(rates, options)
    if (workers === undefined) throw new RangeError("the GPU of the workers is not named")
    return WorkerLives.summarize(works, { ...workers, rateOf: () => workers.rate })
  }
)
