/** The part that a layer has of a budget, over stores in memory and in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, Redacted, Scope } from "effect"
import type { Permits } from "effect-runpod"
import { PermitStore } from "effect-runpod-cluster"
import { once } from "node:events"
import { Worker } from "node:worker_threads"
import { inVirtualTime } from "../../../test/support/inVirtualTime.js"
import * as VirtualTime from "../../../test/support/virtualTime.js"
import { request } from "./support/requests.js"

const key = "rpa_SECRETSECRETSECRET"

/** Of held requests, whose answers tell nothing. */
const poolOptions = (limit: Partial<Permits.PoolOptions["limit"]> = {}): Permits.PoolOptions => ({
  isHeld: true,
  apiKey: Redacted.make(key),
  baseUrl: "https://api.test/v2",
  name: "run ep",
  limit: { limit: 100, window: "10 seconds", concurrency: 12, ...limit }
})

/** A store that can be down, slow and asked what it was asked. */
const makeStore = Effect.map(PermitStore.memory, (memory) => {
  const state = {
    /** How long the way there takes, and that back, in milliseconds. */
    delay: 0,
    /** `lost`: what it answers does not come. */
    down: undefined as "refused" | "hangs" | "lost" | undefined,
    asked: [] as Array<PermitStore.Request>
  }
  const store: PermitStore.Service = {
    lease: (request) =>
      Effect.suspend(() => {
        state.asked.push(request)
        if (state.down === "refused") return new PermitStore.PermitStoreError({ detail: "ECONNREFUSED" })
        if (state.down === "hangs") return Effect.never
        if (state.down === "lost") return Effect.zipRight(memory.lease(request), Effect.never)
        const way = Effect.sleep(state.delay)
        return Effect.zipRight(way, Effect.zipLeft(memory.lease(request), way))
      })
  }
  return { store, state, memory }
})

const permitsOver = (store: PermitStore.Service, options?: PermitStore.Options) =>
  Effect.provideService(PermitStore.permits(options), PermitStore.PermitStore, store)

/** A start and a place, as a limiter takes them: `waiting` stand in line. */
const take = (pool: Permits.Pool, waiting = 1): Effect.Effect<void> =>
  Effect.suspend(() =>
    pool.tryTake()
      ? Effect.void
      : Effect.zipRight(
          pool.ready(() => waiting),
          take(pool, waiting)
        )
  )

/** Takes all it can get at once. */
const takeAll = (pool: Permits.Pool): number => {
  let taken = 0
  while (pool.tryTake()) taken++
  return taken
}

/** Two pools of one budget, of 10 starts unless it is said, and their store. */
const twoPools = (
  options: Partial<Permits.PoolOptions> = {},
  limit: Partial<Permits.PoolOptions["limit"]> = { limit: 10, concurrency: 10 }
) =>
  Effect.gen(function* () {
    const { state, store } = yield* makeStore
    const permits = yield* permitsOver(store)
    const all = { ...poolOptions(limit), ...options }
    return [permits.pool(all), permits.pool(all), state] as const
  })

/** Keeps all places of a pool while others stand in line: starts at hand are not given back meanwhile. */
const keepAll = (pool: Permits.Pool, places: number) =>
  Effect.gen(function* () {
    for (let i = 0; i < places; i++) pool.keepPlace()
    const line = yield* Effect.fork(pool.ready(() => 8))
    return Effect.suspend(() => {
      for (let i = 0; i < places; i++) pool.release()
      return Fiber.join(line)
    })
  })

const logged = <A, E, R>(effect: Effect.Effect<A, E, R>, into: Array<string>) =>
  Effect.provide(
    effect,
    Logger.replace(
      Logger.defaultLogger,
      Logger.make(({ message }) => {
        into.push(String(message))
      })
    )
  )

const test = (name: string, body: () => Effect.Effect<unknown, unknown, Scope.Scope>) =>
  inVirtualTime(name, () => Effect.scoped(Effect.suspend(body)))

describe("a pool of permits", () => {
  test("has what it needs for its first request after one question, and the next at hand", () =>
    Effect.gen(function* () {
      const { state, store } = yield* makeStore
      const pool = (yield* permitsOver(store)).pool(poolOptions())
      assert.isFalse(pool.tryTake())
      yield* take(pool, 5)
      assert.strictEqual(takeAll(pool), 4)
      assert.isAtMost(state.asked.length, 3)
    }))

  test("does not use starts that are older than they are good for, and gives them back", () =>
    Effect.gen(function* () {
      const { memory, state, store } = yield* makeStore
      const pool = (yield* permitsOver(store)).pool(poolOptions())
      yield* take(pool, 25)
      // As of a process that was suspended.
      yield* VirtualTime.advance(201)
      assert.strictEqual(takeAll(pool), 0)
      yield* VirtualTime.advance("1 second")
      const { pool: name = "", window } = state.asked[0] ?? {}
      const { free } = yield* memory.lease(request({ pool: name, window, holder: "other", demand: 0 }))
      assert.strictEqual(free, 99)
    }))

  test("counts starts from when their requests were answered", () =>
    Effect.gen(function* () {
      const [pool, other] = yield* twoPools({ isHeld: false })
      yield* take(pool, 10)
      assert.isTrue(pool.tryTake())
      const kept = yield* keepAll(pool, 8)
      // They may be used for a second.
      yield* VirtualTime.advance(900)
      yield* kept
      assert.strictEqual(takeAll(pool), 8)
      yield* VirtualTime.advance(100)
      for (let i = 0; i < 9; i++) pool.release(i === 3 ? 1_000 : 100)
      const next = yield* Effect.fork(take(other))
      // Without that they would have left the window after 10 seconds, with it they do after 11.
      yield* VirtualTime.advance(9_900)
      assert.isNull(next.unsafePoll())
      yield* VirtualTime.advance(200)
      assert.isNotNull(next.unsafePoll())
      // The last one is held back, and says nothing.
      pool.release()
    }))

  test("counts starts of held requests from when they were leased, whenever they are answered", () =>
    Effect.gen(function* () {
      const [pool, other] = yield* twoPools()
      yield* take(pool, 10)
      assert.strictEqual(takeAll(pool), 9)
      yield* VirtualTime.advance("1 second")
      for (let i = 0; i < 10; i++) pool.release()
      const next = yield* Effect.fork(take(other))
      yield* VirtualTime.advance(9_150)
      assert.isNull(next.unsafePoll())
      // The window, and what such starts are good for.
      yield* VirtualTime.advance(100)
      assert.isNotNull(next.unsafePoll())
    }))

  test("gives starts back that nobody waits for, before they are too old to be used", () =>
    Effect.gen(function* () {
      const [pool, other] = yield* twoPools({ isHeld: false }, { limit: 10, concurrency: Infinity })
      yield* take(pool, 10)
      const next = yield* Effect.fork(take(other))
      yield* VirtualTime.advance(90)
      assert.isNull(next.unsafePoll())
      // They could be used for a second.
      yield* VirtualTime.advance(270)
      assert.isNotNull(next.unsafePoll())
      assert.strictEqual(takeAll(pool), 0)
    }))

  test("gives starts back when the last who waited for one has gone, long after they were asked for", () =>
    Effect.gen(function* () {
      const [pool, other] = yield* twoPools({ isHeld: false })
      yield* take(pool, 10)
      const kept = yield* keepAll(pool, 10)
      const next = yield* Effect.fork(take(other))
      yield* VirtualTime.advance(300)
      yield* kept
      assert.isNull(next.unsafePoll())
      // Within 100 milliseconds, and the other asks four times a second.
      yield* VirtualTime.advance(360)
      assert.isNotNull(next.unsafePoll())
    }))

  test("gives starts back that were asked for while older ones were about to be", () =>
    Effect.gen(function* () {
      const [pool, other, state] = yield* twoPools({ isHeld: false }, { limit: 20, concurrency: Infinity })
      yield* take(pool, 10)
      assert.strictEqual(takeAll(pool), 9)
      yield* VirtualTime.advance(60)
      yield* take(pool, 10)
      const asked = state.asked.length
      const next = yield* Effect.fork(take(other))
      // The name of its pool is hashed beside this thread, which takes real time.
      const turn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      yield* Effect.repeat(turn, { until: () => state.asked.length > asked })
      yield* VirtualTime.advance(90)
      assert.isNull(next.unsafePoll())
      yield* VirtualTime.advance(250)
      assert.isNotNull(next.unsafePoll())
    }))

  test("asks for no more than wait where others have taken all that there is", () =>
    Effect.gen(function* () {
      const [pool, other, state] = yield* twoPools({ isHeld: false }, { limit: 20, concurrency: Infinity })
      yield* take(pool, 8)
      assert.strictEqual(takeAll(pool), 7)
      yield* take(other, 12)
      assert.strictEqual(takeAll(other), 11)
      const next = yield* Effect.fork(take(pool, 2))
      yield* VirtualTime.advance(600)
      assert.isNull(next.unsafePoll())
      // Eight came of late, and two wait.
      assert.strictEqual(state.asked.filter(({ wanted }) => wanted !== undefined).at(-1)?.wanted?.count, 2)
    }))

  test("leaves others what is left where that is little, beyond what it has waiters for", () =>
    Effect.gen(function* () {
      const [pool, other, state] = yield* twoPools({ isHeld: false }, { limit: 20, concurrency: Infinity })
      yield* take(pool, 8)
      assert.strictEqual(takeAll(pool), 7)
      yield* take(other, 8)
      assert.strictEqual(takeAll(other), 7)
      yield* VirtualTime.advance(1_100)
      state.asked = []
      yield* take(pool, 2)
      // Eight came of late, two wait, and four are left for both.
      assert.deepEqual(
        state.asked.map(({ wanted }) => wanted?.count),
        [2]
      )
    }))

  test("has the start that another question of its program was answered with, at once", () =>
    Effect.gen(function* () {
      const [pool, other] = yield* twoPools({ isHeld: false }, { limit: 10, concurrency: Infinity })
      yield* take(other, 10)
      const first = yield* Effect.fork(take(pool))
      yield* VirtualTime.advance(40)
      assert.isNull(first.unsafePoll())
      // What nobody waits for is given back after 100 milliseconds; the first one asks again after 250.
      yield* VirtualTime.advance(80)
      const second = yield* Effect.fork(take(pool))
      yield* VirtualTime.advance(1)
      assert.isNotNull(second.unsafePoll())
      assert.isNotNull(first.unsafePoll())
    }))

  test("gives back what it was given by an answer that did not come", () =>
    Effect.gen(function* () {
      const [pool, other, state] = yield* twoPools({ isHeld: false }, { limit: 10, concurrency: Infinity })
      state.down = "lost"
      const next = yield* Effect.fork(take(pool, 8))
      yield* VirtualTime.advance(1_100)
      assert.isNull(next.unsafePoll())
      state.down = undefined
      yield* VirtualTime.advance("1 second")
      yield* Fiber.join(next)
      yield* VirtualTime.advance("1 second")
      yield* take(other, 9)
      assert.strictEqual(takeAll(other), 8)
    }))

  test("gives back what it was given by an answer that it was closed before", () =>
    Effect.gen(function* () {
      const { memory, state, store } = yield* makeStore
      const scope = yield* Scope.make()
      const options = poolOptions({ limit: 10, concurrency: Infinity })
      const pool = (yield* Scope.extend(permitsOver(store), scope)).pool(options)
      yield* take(pool)
      yield* VirtualTime.advance(250)
      state.down = "lost"
      const next = yield* Effect.fork(take(pool, 5))
      yield* VirtualTime.advance(10)
      state.down = undefined
      yield* Fiber.interruptFork(next)
      yield* Scope.close(scope, Exit.void)
      const other = (yield* permitsOver(memory)).pool(options)
      yield* take(other, 9)
      assert.strictEqual(takeAll(other), 8)
    }))

  test("gives back what the store gives before all have told it what they did meanwhile", () =>
    Effect.gen(function* () {
      const { memory, state, store } = yield* makeStore
      const permits = yield* permitsOver(store)
      const [pool, other] = [1, 2].map(() => permits.pool(poolOptions({ concurrency: Infinity })))
      yield* take(pool!)
      yield* take(other!)
      // Each knows of the other.
      yield* VirtualTime.advance(1_500)
      state.down = "refused"
      yield* VirtualTime.advance("29 seconds")
      // Its part without the store.
      let taken = 0
      while (taken < 50) {
        yield* take(pool!, 30)
        taken++
      }
      const next = yield* Effect.fork(take(pool!, 30))
      yield* VirtualTime.advance(400)
      state.down = undefined
      yield* VirtualTime.advance("1 second")
      assert.isNull(next.unsafePoll())
      const { pool: name = "", window } = state.asked.at(-1) ?? {}
      const { free } = yield* memory.lease(request({ pool: name, window, holder: "third", demand: 0 }))
      // The last answer gave it 25, which it tells back with its next question.
      assert.isAtLeast(free, 25)
    }))

  test("asks for the start that somebody needs with the question that is due anyway", () =>
    Effect.gen(function* () {
      const { memory, state, store } = yield* makeStore
      const pool = (yield* permitsOver(store)).pool(poolOptions())
      const other = (yield* permitsOver(memory)).pool(poolOptions())
      yield* take(pool, 20)
      assert.strictEqual(takeAll(pool), 11)
      // Its starts are too old by then, and its part is a half.
      yield* Effect.forkScoped(take(other, 12))
      yield* VirtualTime.advance("2 seconds")
      state.delay = 50
      const next = yield* Effect.fork(take(pool, 8))
      yield* VirtualTime.advance("1 second")
      assert.isNull(next.unsafePoll())
      // With the seventh place it tells the store that it owes it nothing any more.
      for (let i = 0; i < 7; i++) pool.release()
      const asked = state.asked.length
      yield* VirtualTime.advance(250)
      assert.isNotNull(next.unsafePoll())
      assert.isAtMost(state.asked.length - asked, 2)
    }))

  test("counts each start of a block from when it was taken, and not from when the last one was", () =>
    Effect.gen(function* () {
      const [pool, other] = yield* twoPools({ isHeld: false })
      yield* take(pool, 10)
      assert.isTrue(pool.tryTake())
      for (let i = 0; i < 2; i++) pool.release(0)
      const kept = yield* keepAll(pool, 10)
      // The last starts of the block leave 900 milliseconds after it was leased, and are answered at once.
      yield* VirtualTime.advance(900)
      yield* kept
      assert.strictEqual(takeAll(pool), 8)
      for (let i = 0; i < 8; i++) pool.release(0)
      yield* VirtualTime.advance(1_000)
      const first = yield* Effect.fork(take(other, 2))
      // The first two leave the window after 10 seconds, the others after 10.9.
      yield* VirtualTime.advance(8_000)
      assert.isNull(first.unsafePoll())
      yield* VirtualTime.advance(120)
      assert.isNotNull(first.unsafePoll())
      assert.strictEqual(takeAll(other), 1)
      const last = yield* Effect.fork(take(other, 8))
      yield* VirtualTime.advance(700)
      assert.isNull(last.unsafePoll())
      yield* VirtualTime.advance(250)
      assert.isNotNull(last.unsafePoll())
      assert.strictEqual(takeAll(other), 7)
    }))

  test("has its part of the places as long as it says that it lives, and none when the store knows it no more", () =>
    Effect.gen(function* () {
      const { state, store } = yield* makeStore
      const pool = (yield* permitsOver(store, { onStoreDown: "wait" })).pool(poolOptions({ limit: Infinity }))
      yield* take(pool)
      state.down = "hangs"
      yield* VirtualTime.advance("5 seconds")
      assert.isTrue(pool.tryTake())
      yield* VirtualTime.advance("5 seconds")
      assert.isFalse(pool.tryTake())
    }))

  test("shares places by demand within two renewals, also with a pool of the same program", () =>
    Effect.gen(function* () {
      const { store } = yield* makeStore
      const permits = yield* permitsOver(store)
      const [a, b] = [permits.pool(poolOptions({ limit: Infinity })), permits.pool(poolOptions({ limit: Infinity }))]
      let inA = 0
      const work = Effect.forever(
        Effect.gen(function* () {
          yield* take(a, 50)
          inA++
          yield* Effect.forkScoped(
            Effect.delay(
              Effect.sync(() => {
                inA--
                a.release()
              }),
              100
            )
          )
        })
      )
      const busy = yield* Effect.fork(work)
      yield* VirtualTime.advance("3 seconds")
      assert.strictEqual(inA, 12)
      let inB = 0
      const other = yield* Effect.fork(Effect.forever(Effect.tap(take(b, 50), () => Effect.sync(() => inB++))))
      yield* VirtualTime.advance("2 seconds")
      assert.strictEqual(inB, 6)
      assert.isAtMost(inA, 6)
      for (; inB > 0; inB--) b.release()
      yield* Fiber.interrupt(other)
      yield* VirtualTime.advance("5 seconds")
      assert.strictEqual(inA, 12)
      yield* Fiber.interrupt(busy)
    }))

  test("never has more in flight with others than there are places, whenever they come and go", () =>
    Effect.gen(function* () {
      const { state, store } = yield* makeStore
      state.delay = 30
      const permits = yield* permitsOver(store)
      let inFlight = 0
      let most = 0
      let sent = 0
      const holder = (n: number) =>
        Effect.gen(function* () {
          const pool = permits.pool(poolOptions({ limit: Infinity, concurrency: 5 }))
          for (let i = 0; i < 60; i++) {
            yield* take(pool, 1 + ((i * n) % 9))
            most = Math.max(most, ++inFlight)
            sent++
            const release = Effect.sync(() => {
              inFlight--
              pool.release()
            })
            yield* Effect.forkScoped(Effect.delay(release, 20 + ((i * n * 37) % 400)))
            if (i % 20 === n) yield* Effect.sleep(n * 900)
          }
        })
      yield* Effect.forEach([1, 2, 3, 4], holder, { concurrency: "unbounded", discard: true })
      assert.isAtMost(most, 5)
      assert.strictEqual(sent, 240)
    }))

  test("counts what it may fill while its answer is on the way", () =>
    Effect.gen(function* () {
      const { memory, state, store } = yield* makeStore
      const a = (yield* permitsOver(store)).pool(poolOptions({ limit: Infinity }))
      // Its answers are there at once, and so before those that a was given earlier.
      const b = (yield* permitsOver(memory)).pool(poolOptions({ limit: Infinity }))
      yield* take(a, 12)
      assert.strictEqual(takeAll(a), 11)
      for (let i = 0; i < 12; i++) a.release()
      state.delay = 60
      let inB = 0
      yield* Effect.forkScoped(Effect.forever(Effect.tap(take(b, 12), () => Effect.sync(() => inB++))))
      // a has nothing in flight, and fills all it has at every moment that could be between a question of its own and the answer.
      for (let step = 0; step < 250; step++) {
        yield* VirtualTime.advance(10)
        const inA = takeAll(a)
        assert.isAtMost(inA + inB, 12, `at step ${step}`)
        for (let i = 0; i < inA; i++) a.release()
      }
      assert.isAtLeast(inB, 6)
    }))

  test("rests when nobody uses it, and has given its places back by then", () =>
    Effect.gen(function* () {
      const { state, store } = yield* makeStore
      const pool = (yield* permitsOver(store)).pool(poolOptions())
      yield* take(pool)
      pool.release()
      yield* VirtualTime.advance("20 seconds")
      const { length } = state.asked
      assert.deepInclude(state.asked.at(-1), { demand: 0, inFlight: 0 })
      yield* VirtualTime.advance("60 seconds")
      assert.lengthOf(state.asked, length)
      assert.isFalse(pool.hasRoom())
      yield* VirtualTime.advance("10 millis")
      assert.isTrue(pool.hasRoom())
      assert.isTrue(pool.tryTake() || (yield* Effect.as(take(pool), true)))
    }))

  test("ends with its scope, and gives back places and starts", () =>
    Effect.gen(function* () {
      const { memory, state, store } = yield* makeStore
      yield* Effect.scoped(
        Effect.gen(function* () {
          const pool = (yield* permitsOver(store)).pool(poolOptions())
          yield* take(pool, 20)
          pool.release()
        })
      )
      const { length } = state.asked
      yield* VirtualTime.advance("5 seconds")
      assert.lengthOf(state.asked, length)
      const { pool: name = "", window } = state.asked.at(-1) ?? {}
      const lease = yield* memory.lease(request({ pool: name, holder: "next", window, places: 12, demand: 30 }))
      assert.deepInclude(lease, { free: 99, places: 12, holders: 1 })
    }))

  test("waits for a store that it never reached, without asking it all the time, and says so once", () =>
    Effect.gen(function* () {
      const { state, store } = yield* makeStore
      state.down = "refused"
      const log: Array<string> = []
      yield* logged(
        Effect.gen(function* () {
          const pool = (yield* permitsOver(store)).pool(poolOptions())
          const waiting = yield* Effect.fork(take(pool))
          yield* VirtualTime.advance("10 seconds")
          assert.isNull(waiting.unsafePoll())
          assert.isAtMost(state.asked.length, 45)
          assert.lengthOf(log, 1)
          assert.match(log[0] ?? "", /ECONNREFUSED.*wait until it is back/)
          assert.notInclude(log[0], key)
          state.down = undefined
          yield* VirtualTime.advance("3 seconds")
          yield* Fiber.join(waiting)
          assert.lengthOf(log, 2)
        }),
        log
      )
    }))

  for (const down of ["refused", "hangs"] as const) {
    test(`goes on with its part while the store is down, and tells it all afterwards (${down})`, () =>
      Effect.gen(function* () {
        const { state, store } = yield* makeStore
        const permits = yield* permitsOver(store)
        const pools = [1, 2, 3].map(() => permits.pool(poolOptions({ limit: 60, concurrency: Infinity })))
        const starts: Array<number> = []
        let now = 0
        const use = (pool: Permits.Pool) =>
          Effect.forever(
            Effect.zipRight(
              take(pool, 30),
              Effect.sync(() => {
                starts.push(now)
                pool.release()
              })
            )
          )
        yield* Effect.forkScoped(
          Effect.forever(
            Effect.zipRight(
              Effect.sleep(5),
              Effect.sync(() => (now += 5))
            )
          )
        )
        for (const pool of pools) yield* Effect.forkScoped(use(pool))
        yield* VirtualTime.advance("15 seconds")
        const before = starts.length
        state.down = down
        yield* VirtualTime.advance("45 seconds")
        const during = starts.length - before
        assert.isAtLeast(during, 2 * 60)
        state.down = undefined
        yield* VirtualTime.advance("15 seconds")
        assert.isAtLeast(starts.length - before - during, 30)
        const most = Math.max(...starts.map((from) => starts.filter((at) => at >= from && at < from + 10_000).length))
        assert.isAtMost(most, 60)
        assert.isTrue(state.asked.some(({ unsaved }) => unsaved.length > 0))
      }))
  }

  test("leaves room without the store for what others were given since it asked last", () =>
    Effect.gen(function* () {
      const { state, store } = yield* makeStore
      const permits = yield* permitsOver(store)
      const [a, b] = [1, 2].map(() => permits.pool(poolOptions({ limit: 100, concurrency: Infinity })))
      if (a === undefined || b === undefined) return
      yield* take(a)
      yield* take(b)
      yield* VirtualTime.advance("2 seconds")
      // Just after a has asked.
      let used = 2
      while (used < 60) {
        yield* take(b, 60)
        used++
      }
      state.down = "refused"
      yield* VirtualTime.advance("2 seconds")
      const use = (pool: Permits.Pool) =>
        Effect.forever(
          Effect.tap(take(pool, 30), () =>
            Effect.sync(() => {
              used++
              pool.release()
            })
          )
        )
      for (const pool of [a, b]) yield* Effect.forkScoped(use(pool))
      yield* VirtualTime.advance("3 seconds")
      assert.isAtMost(used, 100)
      yield* VirtualTime.advance("8 seconds")
      assert.isAbove(used, 120)
    }))

  test("sends nothing while the store is down where it is told to wait", () =>
    Effect.gen(function* () {
      const { state, store } = yield* makeStore
      const pool = (yield* permitsOver(store, { onStoreDown: "wait" })).pool(poolOptions())
      yield* take(pool)
      state.down = "refused"
      const waiting = yield* Effect.fork(Effect.zipRight(Effect.sleep("1 second"), take(pool)))
      yield* VirtualTime.advance("60 seconds")
      assert.isNull(waiting.unsafePoll())
      state.down = undefined
      yield* VirtualTime.advance("1 second")
      yield* Fiber.join(waiting)
    }))

  it.scopedLive("takes the answer that came while this process was busy past its time", () =>
    Effect.gen(function* () {
      const { memory } = yield* makeStore
      const asked = new Int32Array(new SharedArrayBuffer(4))
      const answers = `const { parentPort, workerData } = require("node:worker_threads")
        parentPort.on("message", () => setTimeout(() => {
          parentPort.postMessage("answer")
          Atomics.add(workerData, 0, 1)
          Atomics.notify(workerData, 0)
        }, 50))`
      const worker = yield* Effect.acquireRelease(
        Effect.sync(() => new Worker(answers, { eval: true, workerData: asked })),
        (worker) => Effect.promise(() => worker.terminate())
      )
      yield* Effect.promise(() => once(worker, "online"))
      const lease = (request: PermitStore.Request) =>
        Effect.suspend(() => {
          const answer = once(worker, "message")
          worker.postMessage("lease")
          return Effect.zipRight(
            Effect.promise(() => answer),
            memory.lease(request)
          )
        })
      const log: Array<string> = []
      yield* logged(
        Effect.gen(function* () {
          const pool = (yield* permitsOver({ lease }, { hold: "5 seconds" })).pool(poolOptions())
          const taken = yield* Effect.fork(take(pool))
          yield* Effect.sleep(10)
          // In the phase of the event loop that timers follow, not sockets.
          yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
          Atomics.wait(asked, 0, 0)
          const until = performance.now() + 1_100
          while (performance.now() < until) continue
          yield* Fiber.join(taken)
        }),
        log
      )
      assert.deepEqual(log, [])
    })
  )

  test("says what to do about a store that answers later than starts are good for", () =>
    Effect.gen(function* () {
      const { state, store } = yield* makeStore
      state.delay = 150
      const log: Array<string> = []
      yield* logged(
        Effect.gen(function* () {
          const pool = (yield* permitsOver(store)).pool(poolOptions())
          const waiting = yield* Effect.fork(take(pool))
          yield* VirtualTime.advance("5 seconds")
          assert.isNull(waiting.unsafePoll())
          assert.lengthOf(log, 1)
          assert.include(log[0], "`hold`")
          state.delay = 10
          yield* VirtualTime.advance("2 seconds")
          yield* Fiber.join(waiting)
        }),
        log
      )
    }))

  test("gives another start to those that have a place, though no place is free", () =>
    Effect.gen(function* () {
      const { store } = yield* makeStore
      const pool = (yield* permitsOver(store)).pool(poolOptions({ limit: 3, concurrency: 1 }))
      yield* take(pool)
      const again = yield* Effect.fork(Effect.all([pool.start, pool.start, pool.start], { concurrency: "unbounded" }))
      yield* VirtualTime.advance("1 second")
      assert.isNull(again.unsafePoll())
      yield* VirtualTime.advance("11 seconds")
      yield* Fiber.join(again)
    }))

  test("gives nothing to those that were interrupted while they waited", () =>
    Effect.gen(function* () {
      const { store } = yield* makeStore
      const pool = (yield* permitsOver(store)).pool(poolOptions({ limit: 5, concurrency: 2 }))
      for (let i = 0; i < 20; i++) {
        const waiting = yield* Effect.fork(pool.ready(() => 3))
        for (let n = 0; n < i; n++) yield* Effect.yieldNow()
        yield* Fiber.interrupt(waiting)
      }
      yield* pool.ready(() => 3)
      assert.strictEqual(takeAll(pool), 2)
    }))

  test("has nobody in line who was interrupted where a fiber lets others run", () =>
    Effect.gen(function* () {
      const { state, store } = yield* makeStore
      const permits = yield* permitsOver(store)
      // A fiber does so after 2,048 operations, of which one more of this length takes a few.
      for (const waits of [(pool: Permits.Pool) => pool.ready(() => 1), (pool: Permits.Pool) => pool.start]) {
        for (let length = 600; length < 1_100; length++) {
          const pool = permits.pool({ ...poolOptions({ limit: 5, concurrency: 2 }), name: `run ${length}` })
          const before = Effect.iterate(0, { while: (n) => n < length, body: (n) => Effect.succeed(n + 1) })
          const waiting = yield* Effect.fork(Effect.zipRight(before, waits(pool)))
          yield* Effect.yieldNow()
          yield* Fiber.interrupt(waiting)
        }
      }
      yield* VirtualTime.advance("30 seconds")
      const asked = state.asked.length
      yield* VirtualTime.advance("10 seconds")
      assert.strictEqual(state.asked.length, asked)
    }))

  test("uses most starts where there are fewer places than processes, in turns", () =>
    Effect.gen(function* () {
      const { store } = yield* makeStore
      const permits = yield* permitsOver(store)
      const limit = { limit: 10, window: "1 second", concurrency: 1 } as const
      const starts = [0, 0, 0, 0, 0]
      for (const i of starts.keys()) {
        const pool = permits.pool({ ...poolOptions(limit), isHeld: false })
        const once = Effect.gen(function* () {
          yield* take(pool, 3)
          starts[i] = (starts[i] ?? 0) + 1
          yield* Effect.sleep("8 millis")
          pool.release(8)
        })
        yield* Effect.forkScoped(Effect.forever(once))
      }
      yield* VirtualTime.advance("30 seconds")
      const sum = starts.reduce((sum, count) => sum + count, 0)
      assert.isAtLeast(sum, 250)
      for (const count of starts) assert.isAtLeast(count, 30)
    }))
})
