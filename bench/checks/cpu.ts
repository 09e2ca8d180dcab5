/**
 * What must not take long however much there is of it, with a ceiling for the CPU time of each. A
 * mistake that makes one of these quadratic passes its ceiling many times over, or takes 64 times as long for eight times as much
 * rather than 8 times. In a process of its own, which does nothing else meanwhile:
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

const key = "rpa_7GZK0QABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abc"
const scrub = makeScrub([key, "https://hooks.test/in/UrNsBvQx?token=GyKpXs%2FDxTzNw", "AKIAMdJdQz/&WnTyLk"])

const nested = (size: number): string => {
  let text = JSON.stringify({ webhook: "https://hooks.test", text: "x".repeat(size / 8) })
  while (text.length < size) text = JSON.stringify({ text, webhook: "https://hooks.test" })
  return text.slice(0, size)
}

/** Echoed fields that nothing closes, each escaped once more than the one before. */
const unclosed = (size: number): string => {
  let text = ""
  for (let escape = ""; text.length < size; escape += "\\") text += `${escape}"webhook${escape}":${escape}"`
  return text.slice(0, size)
}

const filled = (text: string) => (size: number) => text.repeat(Math.ceil(size / text.length)).slice(0, size)

/** Texts of 400 KiB that are scrubbed, in milliseconds at most. */
const texts: ReadonlyArray<readonly [name: string, ceiling: number, make: (size: number) => string]> = [
  ["plain text", 20, filled("x")],
  ["quotes", 20, filled('\\"')],
  ["JSON in JSON in JSON", 20, nested],
  ["objects that nothing closes", 100, filled('"s3Config":{')],
  ["strings that nothing closes", 20, unclosed],
  ["thirty thousand echoed fields", 100, filled('"webhook":"x"')],
  ["the key", 20, filled(`${key} `)],
  ["the key without its end", 20, filled(key.slice(0, -1))],
  ["the key in base64", 20, filled(btoa(`user:${key}`))],
  ["the URL without its end", 20, filled("https://hooks.test/in/UrNsBvQx?token=GyKpXs ")]
]

/** The CPU time of the fastest of some runs, in milliseconds. */
const fastest = (run: () => unknown): number => {
  const times = Array.from({ length: 9 }, () => {
    const start = process.cpuUsage()
    run()
    const { system, user } = process.cpuUsage(start)
    return (system + user) / 1000
  })
  return Math.min(...times)
}

for (const [name, ceiling, make] of texts) {
  const took = (kibibytes: number) => {
    const text = make(kibibytes * 1024)
    return fastest(() => scrub(text))
  }
  const eighth = took(50)
  const whole = took(400)
  console.log(
    `${whole.toFixed(1).padStart(6)} ms of ${ceiling} (an eighth of it: ${eighth.toFixed(2)}): 400 KiB of ${name}, scrubbed`
  )
  // Between 8 and 64 times. What takes a tenth of a millisecond cannot be measured.
  if (whole > ceiling || whole > 24 * Math.max(eighth, 0.1)) process.exitCode = 1
}

/** Whether an effect takes at most a ceiling: once in three times, since another process may have had the cores meanwhile. */
const passes = ([name, ceiling, check]: (typeof checks)[number], tries = 3): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const start = process.cpuUsage()
    yield* check
    const { system, user } = process.cpuUsage(start)
    const took = (system + user) / 1000
    console.log(`${took.toFixed(0).padStart(6)} ms of ${ceiling}: ${name}`)
    return took <= ceiling || (tries > 1 && (yield* passes([name, ceiling, check], tries - 1)))
  })

for (const check of checks) {
  if (!(await Effect.runPromise(passes(check)))) process.exitCode = 1
}
