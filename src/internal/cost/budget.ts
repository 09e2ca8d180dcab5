import type { BudgetState, Expected, Reservation } from "../../layers/Cost.js"
import { quantile } from "./quantile.js"

/** So many of an endpoint's newest jobs that have ended say what the next may cost, and so many are known in all. */
const remembered = 256
const mostKnown = 1_024
/** Where more jobs have been started, fewer tell too little. */
const fewest = 10
const share = 0.9
/** Sums of fractions of a cent are a little off. */
const tolerance = 1e-9

/** A job; `cost` is missing while it is in flight. */
interface Started {
  cost: number | undefined
}

/** What jobs of one endpoint cost, in USD. */
class Costs {
  inFlight = 0
  /** The newest jobs whose cost is or will be known, in the order of their starts. */
  private started: Array<Started> = []
  private ended = 0
  /** What a job is counted with while there is no percentile. */
  private expected = 0
  /** Missing when it is not known, `null` when it has to be computed anew. */
  private percentile: number | undefined | null

  get isUnknown(): boolean {
    return this.ended === 0
  }

  expect(cost: number): void {
    this.expected = Math.max(this.expected, cost)
  }

  start(): Started {
    const job: Started = { cost: undefined }
    this.started.push(job)
    if (this.started.length > mostKnown) this.forget(this.started[0])
    else if (this.started.length <= fewest) this.percentile = null
    return job
  }

  end(job: Started, cost: number): void {
    if (!this.started.includes(job)) return
    job.cost = cost
    this.ended++
    if (this.ended > remembered) this.forget(this.started.find(({ cost }) => cost !== undefined))
    this.percentile = null
  }

  forget(job: Started | undefined): void {
    const at = job === undefined ? -1 : this.started.indexOf(job)
    if (job === undefined || at === -1) return
    this.started.splice(at, 1)
    if (job.cost !== undefined) this.ended--
    this.percentile = null
  }

  /** What one of its jobs is counted with as long as nobody knows better. */
  get each(): number {
    if (this.percentile === null) this.percentile = this.computed()
    return this.percentile ?? this.expected
  }

  /**
   * The 90th percentile of the jobs that were started first, as far as nine of ten of them have ended. Of many that begin at once the
   * short ones end first, and would say too little of the others.
   */
  private computed(): number | undefined {
    if (this.ended === 0) return undefined
    let ended = 0
    let first = 0
    this.started.forEach(({ cost }, index) => {
      if (cost === undefined) return
      ended++
      if (ended >= share * (index + 1)) first = index + 1
    })
    if (first < Math.min(fewest, this.started.length)) return undefined
    const costs = this.started.slice(0, first).map(({ cost = Infinity }) => cost)
    return quantile(
      costs.sort((a, b) => a - b),
      share
    )
  }
}

/**
 * What was spent, and what is in flight, by endpoint. Plain state, touched only synchronously: a check and its reservation are one
 * step, so that however many submits come at once, only as many pass as there is room for.
 */
export class Budget {
  private spent = 0
  private readonly endpoints = new Map<string, Costs>()
  /** Those whose jobs are known by their ids, by endpoint and job. */
  private readonly jobs = new Map<string, Reservation>()

  constructor(readonly maxCost: number) {
    if (!(maxCost >= 0)) throw new RangeError(`maxCost must be at least 0 USD, got ${maxCost}`)
  }

  private costsOf(endpointId: string): Costs {
    let costs = this.endpoints.get(endpointId)
    if (costs === undefined) this.endpoints.set(endpointId, (costs = new Costs()))
    return costs
  }

  private inFlight(): number {
    let sum = 0
    for (const { each, inFlight } of this.endpoints.values()) sum += inFlight * each
    return sum
  }

  /** Where it stands, and what a further job of the endpoint may cost. */
  state(endpointId: string): BudgetState {
    const { maxCost, spent } = this
    return { _tag: "BudgetState", maxCost, spent, inFlight: this.inFlight(), next: this.costsOf(endpointId).each }
  }

  /** Reserves room for a job. Gives where the budget stands when there is none, and reserves nothing then. */
  reserve(endpointId: string, expected: Expected): Reservation | BudgetState {
    const costs = this.costsOf(endpointId)
    costs.expect(expected.cost)
    const state = this.state(endpointId)
    const committed = state.spent + state.inFlight
    const fits = committed + state.next <= this.maxCost * (1 + tolerance)
    // What a job costs, nobody knows before one has ended: the first one goes although it might take more.
    const isProbe = expected.isGuess && costs.isUnknown && costs.inFlight === 0 && committed < this.maxCost
    return fits || isProbe ? this.adopt(endpointId, expected) : state
  }

  /** Counts a job that is in flight whether there is room or not. */
  adopt(endpointId: string, { cost }: Expected): Reservation {
    const costs = this.costsOf(endpointId)
    costs.expect(cost)
    costs.inFlight++
    const job = costs.start()
    let isHeld = true
    const giveBack = () => {
      if (!isHeld) return false
      isHeld = false
      costs.inFlight--
      return true
    }
    const reservation: Reservation = {
      _tag: "Reservation",
      release: () => {
        if (giveBack()) costs.forget(job)
      },
      end: (cost) => {
        if (!giveBack()) return
        this.spent += cost ?? costs.each
        if (cost === undefined) costs.forget(job)
        else costs.end(job, cost)
      },
      started: (jobId) => this.know(`${endpointId}/${jobId}`, reservation)
    }
    return reservation
  }

  private know(key: string, reservation: Reservation): void {
    // Nobody has seen the end of the job before it was put back in the queue.
    this.takeJob(key)?.end(undefined)
    this.jobs.set(key, reservation)
    const [oldest] = this.jobs.keys()
    // Nobody has seen its end in all this time.
    if (this.jobs.size > mostJobs && oldest !== undefined) this.takeJob(oldest)?.end(undefined)
  }

  private takeJob(key: string): Reservation | undefined {
    const reservation = this.jobs.get(key)
    this.jobs.delete(key)
    return reservation
  }

  /** A job was seen to end. One that was not started here, or was seen before, does not count. */
  ended(endpointId: string, jobId: string, cost: number | undefined): void {
    this.takeJob(`${endpointId}/${jobId}`)?.end(cost)
  }

  /** What was spent before it began. */
  add(cost: number): void {
    this.spent += cost
  }
}

/** How many jobs in flight a budget knows by their ids. */
const mostJobs = 100_000
