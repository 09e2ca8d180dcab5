/** What work costs: the arithmetic, and a budget by itself. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import { Budget } from "../../src/internal/cost/budget.js"
import * as Cost from "../../src/layers/Cost.js"

const rates = Cost.rates({ L4: { flex: 0.1, active: 0.05 }, H100: { flex: 1 } })
const workers: Cost.Workers & Pick<Cost.Options, "rates"> = {
  rates,
  gpu: "L4",
  startTime: "20 seconds",
  idleTimeout: "5 seconds"
}
const completed = { executionTime: 10_000, end: "Completed" } as const

/** Amounts are sums of fractions. */
const near = (actual: number | undefined, expected: number) => assert.approximately(actual ?? NaN, expected, 1e-9)

const anyWork: FastCheck.Arbitrary<Cost.Work> = FastCheck.record(
  {
    workerId: FastCheck.constantFrom("a", "b", "c"),
    executionTime: FastCheck.nat(60_000),
    startedAt: FastCheck.nat(600_000),
    status: FastCheck.constantFrom("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"),
    end: FastCheck.constantFrom("Completed" as const, "Failed" as const, "Retried" as const)
  },
  { requiredKeys: ["end"] }
)
const anyWorkers = FastCheck.record({
  gpu: FastCheck.constantFrom("L4", "H100"),
  gpuCount: FastCheck.integer({ min: 1, max: 4 }),
  workers: FastCheck.constantFrom("flex" as const, "active" as const),
  concurrency: FastCheck.integer({ min: 1, max: 4 }),
  startTime: FastCheck.nat(60_000),
  idleTimeout: FastCheck.nat(60_000)
})

describe("Cost.summarize", () => {
  it("of nothing is nothing", () =>
    assert.deepStrictEqual(Cost.summarize([], workers), {
      currency: "USD",
      floor: 0,
      estimate: 0,
      failed: 0,
      retried: 0,
      unknown: 0
    }))

  it("counts a worker from its start to the end of its idle time, and its gaps in between", () => {
    const works = [
      { ...completed, workerId: "a", startedAt: 0 },
      { ...completed, workerId: "a", startedAt: 13_000 }
    ]
    const { estimate, floor } = Cost.summarize(works, workers)
    near(floor, 0.1 * 20)
    // Start 20 s, 10 s, gap 3 s, 10 s, idle 5 s.
    near(estimate, 0.1 * 48)
  })

  it("starts a worker anew after a gap that is longer than its idle timeout", () => {
    const works = [
      { ...completed, workerId: "a", startedAt: 100_000 },
      { ...completed, workerId: "a", startedAt: 0 }
    ]
    near(Cost.summarize(works, workers).estimate, 0.1 * 2 * (20 + 10 + 5))
  })

  it("counts two workers apart", () => {
    const works = ["a", "b"].map((workerId) => ({ ...completed, workerId, startedAt: 0 }))
    near(Cost.summarize(works, workers).estimate, 0.1 * 2 * (20 + 10 + 5))
  })

  it("counts jobs that a worker runs at once by its time, which they share", () => {
    const works = [0, 1_000].map((startedAt) => ({ ...completed, workerId: "a", startedAt }))
    const { estimate, floor } = Cost.summarize(works, { ...workers, concurrency: 2 })
    near(floor, 0.1 * 10)
    near(estimate, 0.1 * (20 + 11 + 5))
  })

  it("counts a worker that always runs from its first job to its last, at its own rate", () => {
    const works = [0, 100_000].map((startedAt) => ({ ...completed, workerId: "a", startedAt }))
    near(Cost.summarize(works, { ...workers, workers: "active" }).estimate, 0.05 * 110)
    near(Cost.summarize(works, { ...workers, gpu: "H100", workers: "active", gpuCount: 2 }).floor, 2 * 20)
  })

  it("counts a job of which no worker is known by its time alone", () =>
    near(Cost.summarize([{ ...completed, startedAt: 0 }], workers).estimate, 0.1 * 10))

  it("tells failed and retried work apart, and how many may have run for a time nobody knows", () => {
    const summary = Cost.summarize(
      [
        completed,
        { executionTime: 3_000, end: "Failed" },
        { executionTime: 4_000, end: "Retried" },
        { end: "Failed" },
        { end: "Failed", status: "FAILED" },
        // No worker ever had it.
        { end: "Failed", status: "CANCELLED" }
      ],
      workers
    )
    near(summary.floor, 1.7)
    near(summary.failed, 0.3)
    near(summary.retried, 0.4)
    assert.strictEqual(summary.unknown, 2)
  })

  it.prop(
    "never estimates less than the floor, of which failed and retried work are parts",
    [FastCheck.array(anyWork, { maxLength: 12 }), anyWorkers],
    ([works, options]) => {
      const { estimate, failed, floor, retried } = Cost.summarize(works, { ...options, rates })
      assert.isAtLeast(estimate, floor)
      assert.isAtLeast(floor * (1 + 1e-9), failed + retried)
      const only = (end: Cost.Work["end"]) =>
        Cost.summarize(
          works.filter((work) => work.end === end),
          { ...options, rates }
        ).floor
      near(failed, only("Failed"))
      near(retried, only("Retried"))
      near(floor, only("Completed") + failed + retried)
    }
  )

  it.prop(
    "does not depend on the order in which jobs were seen to end",
    [FastCheck.array(anyWork, { maxLength: 12 }), anyWorkers],
    ([works, options]) => {
      const there = Cost.summarize(works, { ...options, rates })
      const back = Cost.summarize([...works].reverse(), { ...options, rates })
      near(there.floor, back.floor)
      near(there.estimate, back.estimate)
    }
  )
})

describe("Cost.make", () => {
  it.effect("knows the rate of a worker by its GPU where `gpuOf` tells, and else by the endpoint's", () =>
    Effect.gen(function* () {
      const gpuOf = (_: string, workerId: string) => (workerId === "w-h100" ? "H100" : "unheard of")
      const cost = yield* Cost.make({ rates, gpu: "L4", gpuOf, endpoints: { two: { gpuCount: 2 } } })
      assert.strictEqual(cost.rateOf("one"), 0.1)
      assert.strictEqual(cost.rateOf("one", "w-h100"), 1)
      assert.strictEqual(cost.rateOf("one", "another"), 0.1)
      assert.strictEqual(cost.rateOf("two", "w-h100"), 2)
      near(cost.costOf("one", { executionTime: 1_500, workerId: "w-h100" }), 1.5)
      assert.isUndefined(cost.costOf("one", {}))
      assert.strictEqual(cost.costOf("one", { status: "CANCELLED" }), 0)
    })
  )

  it.effect("knows nothing of an endpoint whose GPU is not named", () =>
    Effect.gen(function* () {
      const cost = yield* Cost.make({ rates, endpoints: { one: { gpu: "L4" } } })
      assert.strictEqual(cost.rateOf("one"), 0.1)
      assert.isUndefined(cost.rateOf("two"))
      assert.isUndefined(cost.costOf("two", { executionTime: 1 }))
      assert.isUndefined(cost.summarize("two", []))
      assert.isUndefined(cost.expectedOf("two"))
    })
  )

  it.effect("expects what it is told, and else what a job may cost at most", () =>
    Effect.gen(function* () {
      const cost = yield* Cost.make({ rates, gpu: "L4", endpoints: { two: { expectedExecution: "30 seconds" } } })
      assert.deepStrictEqual(cost.expectedOf("one"), { cost: 60, isGuess: true })
      assert.deepStrictEqual(cost.expectedOf("one", { executionTimeout: "20 seconds" }), { cost: 2, isGuess: true })
      assert.deepStrictEqual(cost.expectedOf("two", { executionTimeout: "20 seconds" }), { cost: 3, isGuess: false })
      assert.deepStrictEqual(cost.expectedOf("two", { expectedExecution: 1_000 }), { cost: 0.1, isGuess: false })
    })
  )

  it.each<[string, Partial<Cost.Options>]>([
    ["a GPU without a rate", { gpu: "T4" }],
    ["a GPU of one endpoint without a rate", { gpu: "L4", endpoints: { one: { gpu: "T4" } } }],
    ["half a GPU", { gpu: "L4", gpuCount: 0.5 }],
    ["workers that run no job", { gpu: "L4", concurrency: 0 }],
    ["an endless start", { gpu: "L4", startTime: "Infinity" as never }],
    ["a negative budget", { gpu: "L4", maxCost: -1 }],
    ["a budget that is no number", { gpu: "L4", maxCost: NaN }]
  ])("refuses %s", (_, options) => {
    const exit = Effect.runSyncExit(Cost.make({ rates, ...options }))
    assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
  })

  it("refuses rates that are none", () => {
    for (const rate of [-1, NaN, Infinity]) {
      assert.throws(() => Cost.rates({ L4: { flex: rate } }), RangeError)
      assert.throws(() => Cost.rates({ L4: { flex: 1, active: rate } }), RangeError)
    }
    assert.strictEqual(Cost.rates({ constructor: { flex: 1 } }).gpus.get("toString"), undefined)
  })
})

describe("a budget", () => {
  const expected = { cost: 1, isGuess: false }
  const guess = { cost: 1, isGuess: true }
  const take = (budget: Budget, expecting: Cost.Expected = expected, endpointId = "ep"): Cost.Reservation => {
    const room = budget.reserve(endpointId, expecting)
    if (room._tag === "BudgetState") throw new Error("there is no room")
    return room
  }
  const fill = (budget: Budget, expecting: Cost.Expected, most = 1_000) => {
    for (let n = 0; n < most; n++) if (budget.reserve("ep", expecting)._tag === "BudgetState") return n
    return most
  }
  const state = (maxCost: number, spent: number, inFlight: number, next: number): Cost.BudgetState => ({
    _tag: "BudgetState",
    maxCost,
    spent,
    inFlight,
    next
  })

  it("has room for as many as are expected to fit, however their costs add up", () => {
    assert.strictEqual(fill(new Budget(10), expected), 10)
    assert.strictEqual(fill(new Budget(0.3), { cost: 0.1, isGuess: false }), 3)
    assert.strictEqual(fill(new Budget(0), expected), 0)
  })

  it("lets one job go where nobody knows what it costs, and none where it was said", () => {
    assert.strictEqual(fill(new Budget(0.5), guess), 1)
    assert.strictEqual(fill(new Budget(0.5), expected), 0)
    assert.strictEqual(fill(new Budget(0), guess), 0)
    assert.strictEqual(fill(new Budget(3.5), guess), 3)
  })

  it("counts jobs in flight at the 90th percentile of those that have ended", () => {
    const budget = new Budget(100)
    for (let cost = 1; cost <= 10; cost++) take(budget).end(cost)
    assert.deepStrictEqual(budget.state("ep"), state(100, 55, 0, 9))
    assert.strictEqual(fill(budget, expected, 4), 4)
    const last = take(budget)
    assert.deepStrictEqual(budget.reserve("ep", expected), state(100, 55, 45, 9))
    last.release()
    last.release()
    take(budget)
    assert.strictEqual(fill(budget, expected), 0)
  })

  it("does not take the short ones of many that began at once for all of them", () => {
    const budget = new Budget(100)
    const first = Array.from({ length: 40 }, () => take(budget))
    for (const room of first.filter((_, at) => at % 2 === 0)) room.end(0.1)
    near(budget.state("ep").next, 1)
    for (const room of first.filter((_, at) => at % 2 === 1)) room.end(0.5)
    near(budget.state("ep").next, 0.5)
  })

  it("goes by the newest jobs, also where some have been in flight for long", () => {
    const budget = new Budget(Infinity)
    take(budget)
    for (let n = 0; n < 300; n++) take(budget).end(5)
    near(budget.state("ep").next, 5)
    for (let n = 0; n < 300; n++) take(budget).end(2)
    near(budget.state("ep").next, 2)
  })

  it("counts a job whose time nobody knows as what one may cost, and learns nothing of it", () => {
    const budget = new Budget(10)
    take(budget).end(undefined)
    assert.deepStrictEqual(budget.state("ep"), state(10, 1, 0, 1))
  })

  it("knows what jobs cost by endpoint", () => {
    const budget = new Budget(10)
    take(budget, expected, "a").end(4)
    take(budget, expected, "b")
    assert.deepStrictEqual(budget.state("a"), state(10, 4, 1, 4))
    assert.deepStrictEqual(budget.reserve("b", { cost: 4, isGuess: false }), state(10, 4, 4, 4))
  })

  it("of jobs with ids counts an end once, and none that it did not see begin", () => {
    const budget = new Budget(10)
    take(budget).started("one")
    budget.ended("ep", "another", 5)
    budget.ended("another", "one", 5)
    budget.ended("ep", "one", 2)
    budget.ended("ep", "one", 2)
    assert.deepStrictEqual(budget.state("ep"), state(10, 2, 0, 2))
  })

  it("counts a job that was put back in the queue unseen twice", () => {
    const budget = new Budget(10)
    for (let n = 0; n < 2; n++) take(budget).started("one")
    assert.deepStrictEqual(budget.state("ep"), state(10, 1, 1, 1))
  })

  it("forgets the oldest of very many jobs whose end nobody sees, which counts as spent", () => {
    const budget = new Budget(1_000_000)
    for (let n = 0; n < 100_002; n++) take(budget).started(String(n))
    assert.deepInclude(budget.state("ep"), { spent: 2, inFlight: 100_000 })
    budget.ended("ep", "0", 7)
    assert.deepInclude(budget.state("ep"), { spent: 2, inFlight: 100_000 })
  })

  it.prop(
    "never lets in more than fits, and is exceeded only by what jobs take over what they were counted with",
    [
      FastCheck.array(FastCheck.tuple(FastCheck.constantFrom("reserve", "end", "release"), FastCheck.nat(100)), {
        maxLength: 60
      })
    ],
    ([steps]) => {
      const maxCost = 500
      const budget = new Budget(maxCost)
      /** Jobs in flight, and the least that each was counted with when another was let in. */
      let running: Array<{ readonly room: Cost.Reservation; least: number }> = []
      let over = 0
      for (const [step, cost] of steps) {
        if (step === "reserve") {
          const room = budget.reserve("ep", { cost: 50, isGuess: false })
          if (room._tag === "BudgetState") continue
          const { inFlight, next, spent } = budget.state("ep")
          assert.isAtMost(spent + inFlight, maxCost + 1e-6)
          running = [...running, { room, least: next }].map(({ least, room }) => ({
            room,
            least: Math.min(least, next)
          }))
          continue
        }
        const [first] = running.splice(cost % Math.max(1, running.length), 1)
        if (step === "release") first?.room.release()
        else if (first !== undefined) {
          over += Math.max(0, cost - first.least)
          first.room.end(cost)
        }
      }
      assert.isAtMost(budget.state("ep").spent, maxCost + over + 1e-6)
    }
  )
})
