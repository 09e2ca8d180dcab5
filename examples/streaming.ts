/**
 * Read what a generator handler yields, as it comes: the tokens of a language model.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import { Console, Effect, Schema, Stream } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const model = yield* Endpoint.make(yield* endpointId, {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Unknown,
    chunk: Schema.Struct({ token: Schema.String })
  })

  const job = yield* model.run({ prompt: "Why is the sky blue?" })

  // Ends with the job. A job that failed fails the stream with its error, after the last chunk. RunPod hands out each
  // chunk once: one reader per job.
  yield* job.stream().pipe(
    Stream.runForEach(({ token }) => Effect.sync(() => process.stdout.write(token))),
    Effect.zipRight(Console.log())
  )

  const { executionTime } = yield* job.settle()
  yield* Console.log(`done in ${executionTime} ms`)
})

const answer = "Air scatters blue light more than red, so blue reaches your eyes from everywhere."

const layer = runPodOrEmulator({
  handler: () =>
    Stream.fromIterable(answer.split(/(?<= )/)).pipe(
      Stream.map((token) => ({ token })),
      Stream.tap(() => Effect.sleep("100 millis"))
    )
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
