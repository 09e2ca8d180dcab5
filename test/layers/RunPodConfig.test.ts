import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as RunPodConfig from "effect-runpod/RunPodConfig"
import { status } from "../support/pipeline.js"
import * as Scripted from "../support/scripted.js"

const environment = (variables: Record<string, string>) =>
  Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))

describe("RunPodConfig.fromConfig", () => {
  it.effect("a key that is not set, or empty, is told of by its name, with what to do", () =>
    Effect.gen(function* () {
      for (const variables of [{}, { RUNPOD_API_KEY: "" }, { RUNPOD_API_KEY: " " }]) {
        const error = yield* Effect.flip(RunPodConfig.fromConfig().pipe(environment(variables)))
        assert.strictEqual(error._op, "MissingData")
        assert.match(String(error), /RUNPOD_API_KEY is not set\. .*https:\/\/console\.runpod\.io.*emulator/)
      }
    })
  )

  it.effect("a key that is set is read", () =>
    Effect.gen(function* () {
      const { apiKey } = yield* RunPodConfig.fromConfig().pipe(environment({ RUNPOD_API_KEY: "rpa_1" }))
      assert.isTrue(Redacted.isRedacted(apiKey) && Redacted.value(apiKey) === "rpa_1")
    })
  )

  it.effect("an empty key that a program gives is refused with the same advice", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([Scripted.json({})])
      const error = yield* Effect.flip(Effect.provide(status(), transport.layer({ apiKey: "" })))
      assert.strictEqual(error._tag, "AuthenticationError")
      assert.match(error.message, /perhaps RUNPOD_API_KEY is not set\. .*https:\/\/console\.runpod\.io/)
      assert.strictEqual(transport.asked.length, 0)
    })
  )
})
