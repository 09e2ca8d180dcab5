/**
 * Call a handler that you develop on this machine, with the code that calls RunPod. Start it with
 * `python handler.py --rp_serve_api` and set LOCAL_WORKER_URL=http://localhost:8000; without, a stand-in in this process runs.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Config, Console, Effect, Layer, Schema, Stream } from "effect"
import { type Handler, serveLocalWorker } from "./support/localWorker.js"

const program = Effect.gen(function* () {
  // Any id: the worker on this machine is all endpoints.
  const model = yield* Endpoint.make("my-endpoint", {
    input: Schema.Struct({ prompt: Schema.String }),
    output: Schema.Array(Schema.String),
    chunk: Schema.String
  })

  const words = yield* model.call({ prompt: "why is the sky blue" })
  yield* Console.log(`call: ${words.join(" ")}`)

  const job = yield* model.run({ prompt: "and at sunset" })
  yield* Stream.runForEach(job.stream(), (word) => Console.log(`chunk: ${word}`))

  const failure = yield* Effect.flip(model.call({ prompt: "" }))
  yield* Console.log(`${failure._tag}: ${failure.message}`)

  const lacking = yield* Effect.flip(model.health)
  yield* Console.log(`${lacking._tag}: ${lacking.message}`)
})

/** What `handler.py` does. */
const handler: Handler = function* ({ input }) {
  const prompt = String(input["prompt"])
  if (prompt === "") throw new Error("the prompt is empty")
  yield* prompt.toUpperCase().split(" ")
}

const layer = Layer.unwrapScoped(
  Effect.gen(function* () {
    const given = yield* Config.option(Config.nonEmptyString("LOCAL_WORKER_URL"))
    const url = given._tag === "Some" ? given.value : (yield* serveLocalWorker(handler)).url
    return NodeRunPod.layerLocal({ url })
  })
)

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
