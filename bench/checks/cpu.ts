/**
 * What must not take long however much there is of it, with a ceiling for the CPU time of each. A mistake that makes one of
 * these quadratic passes its ceiling many times over. In a process of its own, which does nothing else meanwhile:
 *
 *     node --import tsx bench/checks/cpu.ts
 */
import { Effect, Fiber } from "effect"
import { makeScrub } from "../../src/internal/text/scrub.js"
import * as JobFailure from "../../src/schemas/JobFailure.js"
import * as RateLimiter from "../../src/services/RateLimiter.js"

const waiters = Array.from({ length: 10_000 }, (_, n) => n)

const limited = (options: RateLimiter.Options) =>
  Effect.flatMap(RateLimiter.make(options), ({ withPermit }) =>
    Effect.forEach(waiters, () => withPermit(Effect.yieldNow()), { concurrency: "unbounded", discard: true })
  )

const checks: ReadonlyArray<readonly [name: string, ceiling: number, Effect.Effect<unknown>]> = [
  ["10,000 waiters for 20 permits", 2_000, limited({ limit: Infinity, window: "10 seconds", concurrency: 20 })],
  ["10,000 waiters for a window of 2,000", 2_000, limited({ limit: 2_000, window: "250 millis" })],
  [
    "10,000 waiters that are interrupted",
    2_000,
    Effect.gen(function* () {
      const { withPermit } = yield* RateLimiter.make({ limit: 2, window: "1 minute", concurrency: 1 })
      const fibers = yield* Effect.forEach([0, ...waiters], () => Effect.fork(withPermit(Effect.never)))
      yield* Effect.sleep("50 millis")
      yield* Fiber.interruptAll(fibers)
    })
  ],
  [
    "secrets struck out of long texts full of them and of what looks like their beginning",
    5_000,
    Effect.sync(() => {
      const scrub = makeScrub(["AAAAAAAAAAAAAAAAAAAAAAAB", "\\\\\\\\\\\\\\\\x", "////////////y"])
      scrub("A".repeat(100_000))
      scrub("\\".repeat(20_000))
      scrub("/".repeat(100_000))
    })
  ],
  [
    "a long message of white space read as a failure",
    2_000,
    Effect.sync(() => {
      JobFailure.fromError(`handler: ${"\n".repeat(1_000_000)}x`)
      JobFailure.fromError(`handler: ${" \n".repeat(1_000_000)}traceback: x`)
    })
  ]
]

const program = Effect.forEach(checks, ([name, ceiling, check]) =>
  Effect.gen(function* () {
    const start = process.cpuUsage()
    yield* check
    const { system, user } = process.cpuUsage(start)
    const took = (system + user) / 1000
    console.log(`${took.toFixed(0).padStart(6)} ms of ${ceiling}: ${name}`)
    if (took > ceiling) process.exitCode = 1
  })
)

await Effect.runPromise(program)
