/**
 * A chat with a language model: its tokens as they come, and what was said before with each question. Questions are the arguments
 * of the command line. Ctrl-C cancels the job that is being answered, so that it does not go on billing.
 */
import { Chat } from "@effect/ai"
import { Endpoint } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import * as Emulator from "effect-runpod/Emulator"
import { RunPodLanguageModel } from "effect-runpod-ai"
import { Array, Console, Effect, Option, Schema, Stream } from "effect"
import { endpointId, modelName, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make(yield* endpointId, { input: Schema.Object, output: Schema.Unknown })
  let lastJob = Option.none<string>()

  const layer = RunPodLanguageModel.layer({
    endpoint: yield* endpointId,
    model: yield* modelName,
    config: { max_tokens: 500 },
    // By a job, whatever `/health` says: it has an id, and can be cancelled.
    via: "job",
    job: {
      onJob: ({ id }) =>
        Effect.suspend(() => {
          lastJob = Option.some(id)
          return Console.log(`(job ${id})`)
        })
    }
  })

  const talk = Effect.gen(function* () {
    const chat = yield* Chat.empty
    const [, , ...words] = process.argv
    const questions = Array.isNonEmptyArray(words) ? words : ["Why is the sky blue?", "And at sunset?"]
    for (const question of questions) {
      yield* Console.log(`> ${question}`)
      yield* chat.streamText({ prompt: question }).pipe(
        Stream.runForEach((part) =>
          Effect.sync(() => {
            if (part.type === "text-delta") process.stdout.write(part.delta)
            if (part.type === "finish") process.stdout.write(`\n(${part.usage.outputTokens} tokens)\n`)
          })
        )
      )
    }
  })

  // The stream has cancelled its job before this is reached: it is only looked at.
  const onCtrlC = Effect.flatMap(
    Effect.suspend(() => lastJob),
    (id) =>
      Effect.flatMap(endpoint.attach(id).status, ({ status }) => Console.log(`\ninterrupted: job ${id} is ${status}`))
  )
  yield* talk.pipe(
    Effect.provide(layer),
    Effect.onInterrupt(() => Effect.ignoreLogged(onCtrlC))
  )
})

const answers = [
  "Air scatters blue light more than red, so blue reaches your eyes from everywhere.",
  "Then the light has passed through more air, which has scattered the blue away: red is left."
]

const layer = runPodOrEmulator({
  handler: Emulator.handler.vllm({ reply: (messages) => answers[(messages.length - 1) / 2], perToken: "100 millis" })
})

program.pipe(Effect.provide(layer), NodeRunPod.runMain)
