import { describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import { client, endpoints, faults, type Scenario, scenarios } from "./scenarios.js"

const overHttp = (scenario: Scenario, given: (typeof faults)[string]) =>
  Effect.gen(function* () {
    const server = yield* NodeEmulator.serve({ endpoints, faults: given })
    yield* scenario.pipe(
      Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl: server.url, requestTimeout: "2 seconds", ...client })),
      Effect.provideService(Emulator.Emulator, server)
    )
  }).pipe(Effect.scoped)

describe.concurrent("the client against the emulator over HTTP", () => {
  for (const [i, [fault, given]] of Object.entries(faults).entries()) {
    // In memory each fault meets each scenario; here, where only the transport is another, every other one.
    const met = Object.entries(scenarios).filter((_, j) => fault === "none" || (i + j) % 2 === 0)
    it.live(
      `faults: ${fault}`,
      () =>
        Effect.forEach(
          met,
          ([name, scenario]) =>
            overHttp(scenario({}), given).pipe(Effect.tapErrorCause(() => Effect.logError(`failed: ${name}`))),
          { concurrency: "unbounded", discard: true }
        ),
      // The first pays for compilation, of which those beside it would be late.
      { concurrent: fault !== "none", timeout: 60_000 }
    )
  }
})
