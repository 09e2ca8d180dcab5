/**
 * An endpoint with schemas: inputs are checked before they are sent, outputs before you get them.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import { Console, Duration, Effect, Schema } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

// What the handler takes. Types of your own are fine as long as they encode to JSON.
const Input = Schema.Struct({
  prompt: Schema.NonEmptyTrimmedString,
  steps: Schema.Int.pipe(Schema.between(1, 50)),
  style: Schema.optional(Schema.Literal("photo", "sketch"))
})

// What the handler returns: a URL and a Duration here, a string and a number on the wire.
const Output = Schema.Struct({
  image: Schema.URL,
  took: Schema.DurationFromMillis
})

const program = Effect.gen(function* () {
  const painter = yield* Endpoint.make(yield* endpointId, { input: Input, output: Output })

  const { image, took } = yield* painter.call({ prompt: "a red bicycle", steps: 20, style: "sketch" })
  yield* Console.log(`${image.hostname} has ${image.pathname}, drawn in ${Duration.format(took)}`)

  // The schema refuses this input. Nothing is sent.
  yield* painter
    .call({ prompt: "a red bicycle", steps: 500 })
    .pipe(Effect.catchTag("BadRequestError", (error) => Console.log(`${error._tag}: ${error.detail}`)))

  // An output that is not what the schema says keeps what came, in `output`.
  yield* painter
    .call({ prompt: "a worker of yesterday", steps: 20 })
    .pipe(Effect.catchTag("OutputDecodeError", (error) => Console.log(`${error._tag}:`, error.output)))
}).pipe(
  // Everything else: a job that ended badly, or a request that went wrong. `_tag` says what, `message` what to do.
  Effect.tapError((error) => Console.error(`${error._tag}: ${error.message}`))
)

const layer = runPodOrEmulator({
  handler: ({ prompt }) =>
    Effect.succeed(
      prompt === "a worker of yesterday"
        ? { image_url: "https://images.example.com/1.png" }
        : { image: "https://images.example.com/1.png", took: 1234 }
    )
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
