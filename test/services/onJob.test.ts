/** Calls that tell of their job before they wait for it. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import type { JobError } from "../../src/errors/JobError.js"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import type { JobHandle } from "../../src/services/JobHandle.js"
import { finish } from "../support/finish.js"

const endpoint = Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })
type TheEndpoint = Effect.Effect.Success<typeof endpoint>
type Call = (
  endpoint: TheEndpoint,
  options: Pick<Endpoint.CallOptions, "onJob">
) => Effect.Effect<unknown, RunPodError | JobError>

const calls: Readonly<Record<string, Call>> = {
  call: (ep, options) => ep.call({ n: 1 }, options),
  runSync: (ep, options) => ep.runSync({ n: 1 }, options),
  callStream: (ep, options) => Stream.runDrain(ep.callStream({ n: 1 }, options))
}

/** What a program gave, and the emulator's jobs 20 seconds later. */
const observed = <A, E>(program: (endpoint: TheEndpoint) => Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const value = yield* Effect.flatMap(endpoint, program)
    yield* Effect.sleep("20 seconds")
    const jobs = yield* (yield* Emulator.Emulator).jobs("ep")
    return { value, jobs: jobs.map(({ cancels, status }) => ({ cancels, status })) }
  }).pipe(
    Effect.provide(
      Emulator.layerRunPod({
        endpoints: { ep: { workers: 1, handler: () => Effect.delay(Effect.succeed("done"), "20 seconds") } }
      })
    ),
    (effect) => finish(effect, "1 hour")
  )

describe.each(Object.entries(calls))("onJob of %s", (_, call) => {
  it.effect("gets a handle on the job before that has ended", () =>
    Effect.gen(function* () {
      const { jobs, value } = yield* observed((ep) =>
        Effect.gen(function* () {
          const told: Array<JobHandle<unknown>> = []
          const statuses: Array<string> = []
          const onJob = (job: JobHandle<unknown>) =>
            Effect.matchEffect(job.status, {
              onFailure: () => Effect.void,
              onSuccess: ({ status }) => Effect.sync(() => void (told.push(job), statuses.push(status)))
            })
          yield* call(ep, { onJob })
          return { statuses, outputs: yield* Effect.forEach(told, (job) => job.result()) }
        })
      )
      assert.lengthOf(value.statuses, 1)
      assert.notInclude(value.statuses, "COMPLETED")
      assert.deepStrictEqual(value.outputs, ["done"])
      assert.deepStrictEqual(jobs, [{ cancels: 0, status: "COMPLETED" }])
    })
  )

  const ways: Readonly<Record<string, NonNullable<Endpoint.CallOptions["onJob"]>>> = {
    "dies with a defect": () => Effect.die(new Error("noted nothing")),
    throws: () => {
      throw new Error("noted nothing")
    }
  }
  it.effect.each(Object.entries(ways))(
    "that %s fails the call with its defect, and the job is cancelled",
    ([, onJob]) =>
      Effect.gen(function* () {
        const { jobs, value } = yield* observed((ep) => Effect.exit(call(ep, { onJob })))
        assert.isTrue(Exit.isFailure(value) && Cause.pretty(value.cause).includes("noted nothing"))
        assert.deepStrictEqual(jobs, [{ cancels: 1, status: "CANCELLED" }])
      })
  )

  it.effect("that interrupts itself interrupts the call, and the job is cancelled", () =>
    Effect.gen(function* () {
      const { jobs, value } = yield* observed((ep) => Effect.exit(call(ep, { onJob: () => Effect.interrupt })))
      assert.isTrue(Exit.isFailure(value) && Exit.isInterrupted(value))
      assert.deepStrictEqual(jobs, [{ cancels: 1, status: "CANCELLED" }])
    })
  )

  it.effect("that goes on is interrupted with the call, and the job is cancelled", () =>
    Effect.gen(function* () {
      const { jobs } = yield* observed((ep) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.fork(call(ep, { onJob: () => Effect.never }))
          yield* Effect.sleep("12 seconds")
          yield* Fiber.interrupt(fiber)
        })
      )
      assert.deepStrictEqual(jobs, [{ cancels: 1, status: "CANCELLED" }])
    })
  )
})
