import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Scope, TestClock } from "effect"
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
})
