import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Option, Scope, TestClock } from "effect"
import * as Groups from "../src/internal/groups.js"

describe("groups", () => {
  it.effect("end with their scope: whoever waits is interrupted, in the group under way and in the next", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const begun = yield* Deferred.make<void>()
      const ask = yield* Scope.extend(
        Groups.make<string, void, never>({
          keyOf: (item) => item,
          sizeOf: () => 1,
          run: () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
        }),
        scope
      )
      const first = yield* Effect.fork(ask("a"))
      yield* Deferred.await(begun)
      const second = yield* Effect.fork(ask("b"))
      yield* TestClock.adjust("1 millis")
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 millis")
      for (const fiber of [first, second]) {
        const exit = Option.getOrUndefined(yield* Fiber.poll(fiber))
        assert.isTrue(exit !== undefined && Exit.isInterrupted(exit))
      }
    })
  )

  /** Groups that each take 100 milliseconds, and those that were run. */
  const timed = (options: { readonly gather?: number; readonly apart?: number; readonly atOnce?: number }) =>
    Effect.gen(function* () {
      const begun: Array<{ readonly at: number; readonly items: ReadonlyArray<string> }> = []
      const ask = yield* Groups.make<string, void, never>({
        ...options,
        keyOf: (item) => item,
        sizeOf: () => 1,
        run: (items) =>
          Effect.gen(function* () {
            begun.push({ at: yield* Clock.currentTimeMillis, items })
            yield* Effect.sleep(100)
            return items.map(() => Exit.void)
          })
      })
      return { begun, ask }
    })

  it.scoped("begin at once where none has begun of late, and else a while after the last one", () =>
    Effect.gen(function* () {
      const { ask, begun } = yield* timed({ apart: 150 })
      yield* Effect.fork(ask("a"))
      yield* TestClock.adjust(100)
      yield* Effect.fork(ask("b"))
      yield* TestClock.adjust(20)
      yield* Effect.fork(ask("c"))
      yield* TestClock.adjust(400)
      yield* Effect.fork(ask("d"))
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(begun, [
        { at: 0, items: ["a"] },
        { at: 150, items: ["b", "c"] },
        { at: 520, items: ["d"] }
      ])
    })
  )

  it.scoped("wait for more than their first item", () =>
    Effect.gen(function* () {
      const { ask, begun } = yield* timed({ gather: 3, apart: 20 })
      yield* Effect.fork(ask("a"))
      yield* TestClock.adjust(2)
      yield* Effect.fork(ask("b"))
      yield* TestClock.adjust(2)
      yield* Effect.fork(ask("c"))
      yield* TestClock.adjust(110)
      assert.deepStrictEqual(begun, [
        { at: 3, items: ["a", "b"] },
        { at: 106, items: ["c"] }
      ])
    })
  )

  it.scoped("are under way at once when more wait than one takes, and never with the same key", () =>
    Effect.gen(function* () {
      const { ask, begun } = yield* timed({ atOnce: 2 })
      const many = (count: number) => Array.from({ length: count }, (_, i) => String(i))
      const asked = yield* Effect.fork(
        Effect.forEach([...many(1_100), "0", "1"], ask, { concurrency: "unbounded", discard: true })
      )
      yield* TestClock.adjust(99)
      assert.deepStrictEqual(
        begun.map(({ at, items }) => [at, items.length]),
        [
          [0, 500],
          [0, 500]
        ]
      )
      yield* TestClock.adjust(101)
      assert.isNotNull(asked.unsafePoll())
      const rest = begun.slice(2)
      assert.isTrue(rest.every(({ at }) => at === 100))
      assert.deepStrictEqual(
        rest.flatMap(({ items }) => items),
        [...many(1_100).slice(1_000), "0", "1"]
      )
    })
  )

  it.scoped("go on beside one that takes long, up to so many, but for its keys", () =>
    Effect.gen(function* () {
      const begun: Array<string> = []
      const ask = yield* Groups.make<string, void, never>({
        atOnce: 3,
        keyOf: (item) => item[0] ?? "",
        sizeOf: () => 1,
        run: (items) =>
          Effect.zipRight(
            Effect.sync(() => begun.push(items.join())),
            Effect.never
          )
      })
      yield* Effect.fork(ask("a1"))
      yield* TestClock.adjust(500)
      for (const item of ["a2", "b1"]) yield* Effect.fork(ask(item))
      yield* TestClock.adjust(499)
      assert.deepStrictEqual(begun, ["a1"])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(begun, ["a1", "b1"])
      yield* TestClock.adjust(1_000)
      yield* Effect.fork(ask("c1"))
      yield* TestClock.adjust(1_000)
      for (const item of ["d1", "e1"]) yield* Effect.fork(ask(item))
      yield* TestClock.adjust(5_000)
      assert.deepStrictEqual(begun, ["a1", "b1", "c1"])
    })
  )

  it.scoped("wait for the one under way, whatever became of those before it, and wherever they were made", () =>
    Effect.gen(function* () {
      const { ask, begun } = yield* Effect.uninterruptible(timed({ atOnce: 2 }))
      yield* Effect.fork(ask("a"))
      yield* TestClock.adjust(2_000)
      yield* Effect.fork(ask("b"))
      yield* TestClock.adjust(50)
      yield* Effect.fork(ask("c"))
      yield* TestClock.adjust(500)
      assert.deepStrictEqual(begun, [
        { at: 0, items: ["a"] },
        { at: 2_000, items: ["b"] },
        { at: 2_100, items: ["c"] }
      ])
    })
  )

  it.scopedLive("leave nobody waiting who asks while the last is about to end, wherever its fiber yields", () =>
    Effect.gen(function* () {
      for (let steps = 0; steps < 40; steps++) {
        const ask = yield* Effect.withMaxOpsBeforeYield(
          Groups.make<string, void, never>({
            keyOf: (item) => item,
            sizeOf: () => 1,
            run: (items) =>
              Effect.as(
                Effect.repeatN(Effect.void, steps),
                items.map(() => Exit.void)
              )
          }),
          51
        )
        yield* Effect.timeout(Effect.zipRight(ask("a"), ask("b")), "5 seconds")
      }
    })
  )
})
