import { assert, describe, it } from "@effect/vitest"
import * as HttpClient from "@effect/platform/HttpClient"
import { Effect, Exit, Scope, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { submit } from "./support.js"

describe("closing the emulator", () => {
  const closeWhileRunning = (options: Partial<Emulator.Options>, handler: Emulator.Handler) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const endpoints = { e: { workers: 1, handler } }
      const emulator = yield* Scope.extend(Emulator.make({ endpoints, ...options }), scope)
      const job = { input: { n: 1 }, webhook: "https://app.example/hooks" }
      yield* Effect.provideService(submit("e", job), HttpClient.HttpClient, emulator.client)
      yield* Effect.provideService(submit("e", job), HttpClient.HttpClient, emulator.client)
      yield* TestClock.adjust("1 second")
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 minute")
    })

  it.effect("interrupts the handler that runs and starts none of a queued job", () =>
    Effect.gen(function* () {
      const events: Array<string> = []
      const event = (name: string) => Effect.sync(() => events.push(name))
      yield* closeWhileRunning({}, () =>
        event("started").pipe(
          Effect.zipRight(Effect.never),
          Effect.onInterrupt(() => event("interrupted"))
        )
      )
      assert.deepStrictEqual(events, ["started", "interrupted"])
    })
  )

  it.effect("delivers no webhook for a job whose handler it interrupts", () =>
    Effect.gen(function* () {
      const bodies: Array<string> = []
      const deliver: Emulator.Deliver = ({ body }) => Effect.sync(() => bodies.push(body)).pipe(Effect.as(503))
      yield* closeWhileRunning({ deliver }, () => Effect.never)
      assert.deepStrictEqual(bodies, [])
    })
  )

  it.effect("ends the tries of a webhook that is not acknowledged", () =>
    Effect.gen(function* () {
      let deliveries = 0
      const deliver: Emulator.Deliver = () => Effect.sync(() => deliveries++).pipe(Effect.as(503))
      yield* closeWhileRunning({ deliver }, () => Effect.succeed("done"))
      assert.strictEqual(deliveries, 2)
    })
  )
})
