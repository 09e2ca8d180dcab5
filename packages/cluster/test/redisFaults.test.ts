/** What pools get from a Redis that is killed, emptied, or comes back with an old state. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Redacted, type Scope } from "effect"
import type { Permits } from "effect-runpod"
import { PermitStore, Redis } from "effect-runpod-cluster"
import { connected, dumpOf } from "./support/permitStores.js"
import { ownRedis, password, type Server } from "./support/redisServer.js"

const apiKey = "rpa_SECRETSECRETSECRET"

const limit = 60
const window = 1_000

const pool = (url: string, options?: PermitStore.Options): Effect.Effect<Permits.Pool, never, Scope.Scope> =>
  Effect.gen(function* () {
    const store = yield* Redis.connect({ url: Redacted.make(url) })
    const permits = yield* Effect.provideService(PermitStore.permits(options), PermitStore.PermitStore, store)
    return permits.pool({
      apiKey: Redacted.make(apiKey),
      baseUrl: "https://api.test/v2",
      name: "run ep",
      limit: { limit, window, concurrency: 12 },
      isHeld: true
    })
  })

/** Starts requests without end, each as soon as it may, and notes when. */
const use = (pool: Permits.Pool, starts: Array<number>): Effect.Effect<never> =>
  Effect.forever(
    Effect.suspend(() => {
      if (!pool.tryTake()) return pool.ready(() => 20)
      starts.push(performance.now())
      return Effect.asVoid(
        Effect.forkDaemon(
          Effect.delay(
            Effect.sync(() => pool.release()),
            5
          )
        )
      )
    })
  )

const mostIn = (starts: ReadonlyArray<number>): number =>
  Math.max(0, ...starts.map((from) => starts.filter((at) => at >= from && at < from + window).length))

const until = (starts: ReadonlyArray<number>, count: number) =>
  Effect.repeat(Effect.sleep(5), { until: () => starts.length >= count })

const since = (starts: ReadonlyArray<number>, from: number) => starts.filter((at) => at >= from).length

describe.concurrent("permits in Redis", () => {
  const faults: ReadonlyArray<readonly [string, (server: Server) => Effect.Effect<unknown>]> = [
    ["is emptied", (server) => server.command("FLUSHALL")],
    [
      "is killed, and started again with nothing",
      (server) => Effect.zipRight(server.kill, Effect.zipRight(Effect.sleep(200), server.start))
    ],
    [
      "is killed, and started again with what it was a while ago",
      (server) => Effect.zipRight(server.kill, Effect.zipRight(Effect.sleep(200), server.start))
    ]
  ]
  for (const [what, fault] of faults) {
    it.scopedLive(
      `are never more than the limit when Redis ${what}`,
      () =>
        Effect.gen(function* () {
          const redis = yield* ownRedis
          const starts: Array<number> = []
          const pools = yield* Effect.all([pool(redis.url), pool(redis.url), pool(redis.url)])
          for (const pool of pools) yield* Effect.forkScoped(use(pool, starts))
          // Redis is new: for three seconds there is nothing. What is saved then knows the first window, and the fault comes in the second.
          yield* until(starts, limit - 6)
          if (what.endsWith("ago")) yield* redis.command("SAVE")
          yield* until(starts, 2 * limit - 12)
          yield* fault(redis)
          const back = performance.now()
          // One that comes now has nothing to tell.
          yield* Effect.forkScoped(use(yield* pool(redis.url), starts))
          yield* Effect.sleep(5_500)
          assert.isAtMost(mostIn(starts), limit)
          assert.isAtLeast(since(starts, back), limit)
        }),
      40_000
    )
  }

  it.scopedLive(
    "go on without it within the limit, where a newcomer waits and each says so once, and nothing names the key or the password",
    () =>
      Effect.gen(function* () {
        const redis = yield* ownRedis
        const log: Array<string> = []
        const logger = Logger.make(({ cause, message }) => {
          const line = String(message) + String(cause)
          // A machine that stands still for a while answers late: that is no outage.
          if (!line.includes("answers later than")) log.push(line)
        })
        yield* Effect.gen(function* () {
          const starts: Array<number> = []
          const fresh: Array<number> = []
          const waited: Array<number> = []
          const pools = yield* Effect.all([pool(redis.url), pool(redis.url)])
          const waiting = yield* pool(redis.url, { onStoreDown: "wait" })
          for (const pool of pools) yield* Effect.forkScoped(use(pool, starts))
          yield* Effect.forkScoped(use(waiting, waited))
          yield* Effect.sleep(4_500)
          const dump = yield* Effect.scoped(Effect.flatMap(connected(redis.url), dumpOf))
          assert.notInclude(dump, apiKey)
          assert.match(dump, /[0-9a-f]{32}/)
          yield* redis.kill
          const died = performance.now()
          yield* Effect.forkScoped(use(yield* pool(redis.url), fresh))
          yield* Effect.sleep(4_500)
          // Two of three holders, in two windows at least.
          assert.isAtLeast(since(starts, died), (2 * 2 * limit) / 3 - 4)
          assert.isAtMost(since(waited, died + 250), 0)
          assert.lengthOf(fresh, 0)
          assert.isAtMost(mostIn([...starts, ...waited]), limit)
          assert.lengthOf(log, 4)
          yield* redis.start
          // Three seconds until it gives starts, and a window until the newcomer's turn.
          yield* Effect.sleep(6_000)
          assert.isAtLeast(fresh.length, 1)
          assert.isAtMost(mostIn([...starts, ...waited, ...fresh]), limit)
          assert.lengthOf(log, 8)
        }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
        for (const line of log) {
          assert.notInclude(line, apiKey)
          assert.notInclude(line, password)
        }
      }),
    40_000
  )

  it.scopedLive("are refused in words without the password", () =>
    Effect.gen(function* () {
      const redis = yield* ownRedis
      const store = yield* Redis.connect({ url: redis.url.replace(password, "another-password") })
      const error = yield* Effect.flip(
        store.lease({
          pool: "pool",
          holder: "a",
          window: undefined,
          places: 1,
          wanted: undefined,
          demand: 1,
          inFlight: 0,
          ttl: 1_000,
          unsaved: [],
          known: () => []
        })
      )
      assert.notInclude(JSON.stringify(error) + error.message, "another-password")
    })
  )
})
