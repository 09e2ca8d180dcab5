import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { BatchJournalError } from "../../errors/BatchError.js"
import type { BadRequestError } from "../../errors/RunPodError.js"
import * as Cost from "../../layers/Cost.js"
import type * as Job from "../../schemas/Job.js"
import type { Options } from "../../services/Batch.js"
import type { BatchJournal } from "../../services/BatchJournal.js"
import type { Endpoint } from "../../services/Endpoint.js"
import { Budget } from "../cost/budget.js"
import { refuse } from "../http/arguments.js"
import { noRate } from "../jobs/budget.js"

/** Gets what jobs did on workers: in this run, or in one before it with the same journal. */
export type OnWork = (work: Cost.Work, run: "This" | "Earlier") => void

/** What work costs: as the endpoint was made with, else as the program says where the batch runs. */
export const costOf = (endpoint: Pick<Endpoint<never, unknown>, "runtime">): Effect.Effect<Cost.Service | undefined> =>
  endpoint.runtime?.cost === undefined
    ? Effect.map(Effect.serviceOption(Cost.Cost), (cost) => (cost._tag === "Some" ? cost.value : undefined))
    : Effect.succeed(endpoint.runtime.cost)

/** What the budget of a batch is kept with. */
interface Bounds {
  readonly budget: Budget
  readonly cost: Cost.Service
  readonly expected: Cost.Expected
}

/** What an item gets that asks for room: it, or where the budget stands that has none. */
export type Answer = Cost.Reservation | "Stopped" | Cost.BudgetState

/** Room where there is no budget. */
const unbounded: Cost.Reservation = {
  _tag: "Reservation",
  release: () => undefined,
  started: () => undefined,
  end: () => undefined
}

const wakeFirst = (line: Array<Deferred.Deferred<void>>): boolean => {
  const first = line.shift()
  if (first !== undefined) Deferred.unsafeDone(first, Effect.void)
  return first !== undefined
}

/** The work of a batch's jobs, and room for them in its budget. Plain state of one run, touched only synchronously. */
export class Spend {
  /** Items that have room, whether their jobs have been submitted or not. */
  private jobs = 0
  /** Items that wait for room in the batch's budget, and in the layer's, the longest first. */
  private readonly waiting: Array<Deferred.Deferred<void>> = []
  private readonly refused: Array<Deferred.Deferred<void>> = []
  private isStopped = false

  private constructor(
    private readonly endpointId: string,
    private readonly bounds: Bounds | undefined,
    /** Tells of a job, or of an attempt, that has ended. */
    readonly onWork: OnWork
  ) {}

  /** Fails where there is a `maxCost`, and nobody knows what a job costs. */
  static make(
    { id, runtime }: Pick<Endpoint<never, unknown>, "id" | "runtime">,
    { expectedExecution, maxCost, policy }: Options<never>,
    onWork: OnWork = () => undefined
  ): Effect.Effect<Spend, BadRequestError> {
    if (maxCost === undefined) return Effect.succeed(new Spend(id, undefined, onWork))
    return Effect.flatMap(costOf({ runtime }), (cost) => {
      const budget = new Budget(maxCost)
      const expected = cost?.expectedOf(id, { expectedExecution, executionTimeout: policy?.executionTimeout })
      return cost === undefined || expected === undefined
        ? Effect.fail(noRate("run", id))
        : Effect.succeed(new Spend(id, { budget, cost, expected }, onWork))
    })
  }

  /** Counts what earlier runs have spent. */
  load({ work }: BatchJournal): Effect.Effect<void, BadRequestError | BatchJournalError> {
    const { bounds, endpointId } = this
    if (bounds === undefined) return Effect.void
    if (work === undefined) {
      return Effect.fail(refuse("run", "`maxCost` needs a journal that knows what was spent, with `work`"))
    }
    const { budget, cost } = bounds
    return Effect.map(work, (items) => {
      for (const { earlierExecutionTime: executionTime, ...newest } of items) {
        if (newest.executionTime !== undefined) {
          budget.adopt(endpointId, bounds.expected).end(cost.costOf(endpointId, newest))
        }
        if (executionTime !== undefined) budget.add(cost.costOf(endpointId, { executionTime }) ?? 0)
      }
    })
  }

  /**
   * Takes room for an item, at once where there is some, for what is done with it. Gives where the budget stands when there is none and none will come,
   * since no job of the batch is in flight.
   */
  enter<A, E, R>(use: (answer: Answer) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    if (this.isStopped) return use("Stopped")
    const room = this.reserve()
    if (room._tag === "BudgetState") {
      return Effect.flatMap(this.waitIn(this.waiting, room), (state) => (state ? use(state) : this.enter(use)))
    }
    // There may be room for another one.
    wakeFirst(this.waiting)
    return use(room)
  }

  /** Nothing more is to be submitted. */
  stop(): void {
    this.isStopped = true
    while (wakeFirst(this.waiting) || wakeFirst(this.refused));
  }

  private reserve(): Cost.Reservation | Cost.BudgetState {
    const room = this.bounds?.budget.reserve(this.endpointId, this.bounds.expected) ?? unbounded
    if (room._tag === "Reservation") this.jobs++
    return room
  }

  /**
   * The layer's budget, which stands so, has no room for an item: gives up its own, and waits until there may be some. Gives where
   * it stands when there will be none.
   */
  leave(room: Cost.Reservation | undefined, state: Cost.BudgetState): Effect.Effect<Cost.BudgetState | undefined> {
    return Effect.suspend(() => {
      if (room !== undefined) this.jobs--
      room?.release()
      return this.waitIn(this.refused, state)
    })
  }

  /** Waits in a line for a job of the batch to begin or to end. Gives the state back when none is there that could. */
  private waitIn(
    line: Array<Deferred.Deferred<void>>,
    state: Cost.BudgetState
  ): Effect.Effect<Cost.BudgetState | undefined> {
    if (this.jobs === 0) return Effect.succeed(state)
    const turn = Deferred.unsafeMake<void>(FiberId.none)
    line.push(turn)
    return Effect.as(Deferred.await(turn), undefined)
  }

  /** The budgets may have room again. */
  private wakeNext(): void {
    wakeFirst(this.waiting)
    wakeFirst(this.refused)
  }

  /** The job of an item with room was started: the layer's budget may have room for another one. */
  begun(): void {
    wakeFirst(this.refused)
  }

  /** A job that nobody took room for is in flight all the same. */
  adopt(): Cost.Reservation {
    this.jobs++
    return this.bounds?.budget.adopt(this.endpointId, this.bounds.expected) ?? unbounded
  }

  /** Nothing was started for an item with room. */
  release(room: Cost.Reservation): void {
    this.jobs--
    room.release()
    this.wakeNext()
  }

  /** The job of an item has ended; without one, nobody will know its end. */
  end(room: Cost.Reservation, job: Job.Ended | undefined): void {
    this.jobs--
    room.end(job && this.bounds?.cost.costOf(this.endpointId, job))
    this.wakeNext()
  }

  /** Takes room for a retry of a job that has just ended, where there is some. */
  roomToRetry(): Cost.Reservation | undefined {
    const room = this.reserve()
    return room._tag === "Reservation" ? room : undefined
  }
}
