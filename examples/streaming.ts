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

  // Submits a job and ends with it. A job that failed fails the stream with its error, after the last chunk.
  const answer = model.callStream({ prompt: "Why is the sky blue?" })
  yield* answer.pipe(
    Stream.runForEach(({ token }) => Effect.sync(() => process.stdout.write(token))),
    Effect.zipRight(Console.log())
  )

  // Who has read enough leaves: the job is cancelled, and bills no longer.
  const beginning = yield* answer.pipe(Stream.take(3), Stream.runCollect)
  yield* Console.log(`${beginning.length} tokens are enough`)

  // With a handle there is more to be had of the job than its chunks. RunPod hands out each chunk once: one reader per job.
  const job = yield* model.run({ prompt: "Why is the sky blue?" })
  const count = yield* job.stream().pipe(Stream.runCount)
  const { executionTime } = yield* job.settle()
  yield* Console.log(`${count} tokens in ${executionTime} ms`)
})

const text = "Air scatters blue light more than red, so blue reaches your eyes from everywhere."

const layer = runPodOrEmulator({
  handler: () =>
    Stream.fromIterable(text.split(/(?<= )/)).pipe(
      Stream.map((token) => ({ token })),
      Stream.tap(() => Effect.sleep("100 millis"))
    )
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
