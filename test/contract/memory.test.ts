import { describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { finish } from "../support/finish.js"
import { client, endpoints, faults, scenarios } from "./scenarios.js"

describe("the client against the emulator in memory, under TestClock", () => {
  for (const [fault, given] of Object.entries(faults)) {
    describe(`faults: ${fault}`, () => {
      for (const [name, scenario] of Object.entries(scenarios)) {
        it.effect(name, () =>
          finish(Effect.provide(scenario({}), Emulator.layerRunPod({ client, endpoints, faults: given })), "15 minutes")
        )
      }
    })
  }
})
