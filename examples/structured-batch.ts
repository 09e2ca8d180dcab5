/**
 * A thousand prompts, and an object of a schema for each: a batch of model calls. What is no such object is an outcome like others,
 * and says why.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Batch, type JobError, type RunPodError } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { ModelEndpoint } from "effect-runpod-ai"
import { Array, Cause, Chunk, Console, Duration, Effect, Either, Exit, Schema } from "effect"
import { endpointId, modelName, runPodOrEmulator } from "./support/runpod.js"

const Review = Schema.Struct({
  stars: Schema.Int.pipe(Schema.between(1, 5)),
  isComplaint: Schema.Boolean
})

const things = ["kettle", "lamp", "chair", "clock"]
const reviews = Array.makeBy(1_000, (n) => `Review ${n}: the ${things[n % 4]} ${n % 3 === 0 ? "broke" : "is fine"}.`)

const program = Effect.gen(function* () {
  const rating = yield* ModelEndpoint.object(yield* endpointId, {
    model: yield* modelName,
    schema: Review,
    prompt: (review: string) => `How many stars does this review give, and is it a complaint? ${review}`,
    config: { temperature: 0, max_tokens: 100 }
  })
  const { completed, results, wallTime } = yield* Batch.collect(rating, reviews, { timeout: "1 hour" })
  yield* Console.log(`${completed} of ${reviews.length} objects in ${Duration.format(wallTime)}`)

  const [failures, objects] = Array.partitionMap(results, ({ input, result }) =>
    Exit.match(result, {
      onFailure: (cause) =>
        Either.left(`${input}\n  ${Cause.failures(cause).pipe(Chunk.map(whyNone), Chunk.join(", "))}`),
      onSuccess: Either.right
    })
  )
  yield* Console.log(`${objects.filter(({ isComplaint }) => isComplaint).length} complaints`)
  yield* Effect.forEach(failures, (failure) => Console.log(failure))
})

/** A job may have failed. One that is COMPLETED may hold an error of the worker, half an answer, or what is no such object. */
const whyNone = (error: RunPodError.RunPodError | JobError.JobError): string => {
  if (error._tag !== "OutputDecodeError") return error.message
  const inAnswer = ModelEndpoint.errorOf(error)
  return inAnswer === undefined
    ? `not what the schema says: ${error.issue.split("─ ").at(-1)}`
    : `${inAnswer._tag}: ${inAnswer.message}`
}

/** What the emulated model gets wrong. */
const mistakes: Record<string, ReturnType<NonNullable<Emulator.handler.VllmOptions["reply"]>>> = {
  "Review 17:": { content: `{"stars":3,"isCompl`, finishReason: "length" },
  "Review 170:": `{"stars":11,"isComplaint":false}`,
  "Review 700:": "A very good review!"
}

const layer = runPodOrEmulator({
  workers: 4,
  concurrency: 30,
  coldStart: "200 millis",
  handler: Emulator.handler.vllm({
    reply: ([message]) => {
      const text = JSON.stringify(message)
      const mistake = Object.keys(mistakes).find((review) => text.includes(review))
      if (mistake !== undefined) return mistakes[mistake]
      return text.includes("broke") ? `{"stars":1,"isComplaint":true}` : `{"stars":4,"isComplaint":false}`
    },
    // The model's server on a worker answers with an error: the job is COMPLETED all the same.
    fail: (body) => (JSON.stringify(body).includes("Review 333:") ? { message: "CUDA out of memory" } : undefined)
  })
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
