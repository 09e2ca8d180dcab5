/**
 * OpenAI's own client over the OpenAI route of an endpoint: it keeps its types and its streams, and gets this client's limits, deadlines and errors. It
 * needs no key, and a request that may have been answered is not sent again by it.
 */
import { NodeRuntime } from "@effect/platform-node"
import * as Emulator from "effect-runpod/Emulator"
import { OpenAi } from "effect-runpod-ai"
import { Console, Effect } from "effect"
import OpenAI from "openai"
import { endpointId, modelName, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  // The route cuts a request off that waits for a cold worker too long.
  yield* OpenAi.warm(yield* endpointId, { timeout: "10 minutes" })

  const openai = new OpenAI({ apiKey: "unused", fetch: yield* OpenAi.fetch(yield* endpointId) })
  const model = yield* modelName
  const messages = [{ role: "user" as const, content: "Why is the sky blue?" }]

  yield* Effect.tryPromise(async (signal) => {
    const stream = await openai.chat.completions.create({ model, messages, stream: true }, { signal })
    for await (const { choices } of stream) process.stdout.write(choices[0]?.delta.content ?? "")
  })

  // Workers answer with their errors as if they were successes. Here they are errors.
  const error = yield* Effect.tryPromise(() =>
    openai.chat.completions.create({ model: "no-such-model", messages })
  ).pipe(Effect.flip)
  yield* Console.log(`\n${String(error.cause)}`)
})

const layer = runPodOrEmulator({
  coldStart: "1 second",
  handler: Emulator.handler.vllm({
    reply: () => "Air scatters blue light more than red, so blue reaches your eyes from everywhere.",
    perToken: "50 millis"
  })
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
