import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Option, Schema } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Flight from "../../src/services/Flight.js"
import { finish } from "../support/finish.js"

const { Fault } = Emulator

const world: Emulator.Options = {
  endpoints: {
    ep: {
      workers: 4,
      handler: ({ n }) =>
        Effect.delay(Number(n) % 5 === 3 ? Effect.fail("no") : Effect.succeed({ n }), `${50 + Number(n) * 10} millis`)
    }
  },
  faults: [
    Fault.resetAfter({ operations: ["run"], after: 5, times: 1 }),
    Fault.serverError({ operations: ["status", "statusSync"], rate: 0.2 })
  ]
}

/** How the items of a batch ended. */
const batch = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })
  const inputs = Array.from({ length: 20 }, (_, n) => ({ n }))
  const { results } = yield* Batch.collect(endpoint, inputs, { concurrency: 8, poll: { initial: "100 millis" } })
  return results.map(({ result }) =>
    Exit.match(result, {
      onSuccess: () => "Completed",
      onFailure: (cause) => Option.getOrUndefined(Cause.failureOption(cause))?._tag
    })
  )
})

describe("the world of a recording, behind a server", () => {
  it.scopedLive("ends each item as it did", () =>
    Effect.gen(function* () {
      const { layer, recording } = yield* Flight.inMemory()
      const ends = yield* finish(Effect.provide(batch, Layer.provide(Emulator.layerRunPod(world), layer)))
      assert.sameMembers([...new Set(ends)], ["Completed", "JobFailedError", "SubmitAmbiguousError"])
      const { url } = yield* NodeEmulator.serve(Emulator.fromFlight(yield* recording, { endpoints: ["ep"] }))
      const served = yield* Effect.provide(batch, NodeRunPod.layer({ apiKey: "a-key", baseUrl: url }))
      assert.deepStrictEqual(served, ends)
    })
  )
})
