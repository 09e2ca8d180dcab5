/**
 * A file of JSON lines through an endpoint into another file, as streams: neither file is ever in memory as a whole, and
 * there are only so many jobs in flight.
 */
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { Batch, Endpoint } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Array, Console, Effect, Exit, Schema, Stream } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const Input = Schema.Struct({ prompt: Schema.String, seed: Schema.Int })

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  const prompts = Array.makeBy(100, (seed) => JSON.stringify({ prompt: "a red bicycle", seed }))
  yield* fs.writeFileString(`${folder}/prompts.jsonl`, prompts.join("\n"))

  const endpoint = yield* Endpoint.make(yield* endpointId, { input: Input, output: Schema.Unknown })

  const inputs = fs.stream(`${folder}/prompts.jsonl`).pipe(
    Stream.decodeText(),
    Stream.splitLines,
    // A line that is no input ends the batch, once what is in flight has settled.
    Stream.mapEffect(Schema.decode(Schema.parseJson(Input)))
  )

  yield* Batch.run(endpoint, inputs, { concurrency: 40 }).pipe(
    // In the order they come; `index` is the line's number.
    Stream.map(({ index, input, result }) =>
      Exit.match(result, {
        onSuccess: (output) => ({ line: index + 1, seed: input.seed, output }),
        onFailure: (cause) => ({ line: index + 1, seed: input.seed, error: String(cause) })
      })
    ),
    Stream.map((line) => `${JSON.stringify(line)}\n`),
    Stream.encodeText,
    Stream.run(fs.sink(`${folder}/images.jsonl`))
  )

  const lines = (yield* fs.readFileString(`${folder}/images.jsonl`)).trimEnd().split("\n")
  yield* Console.log(`${lines.length} lines, the first of them:\n${lines.slice(0, 3).join("\n")}`)
}).pipe(Effect.scoped)

const layer = runPodOrEmulator({
  workers: 20,
  handler: ({ seed }) => Effect.delay(Effect.succeed({ image: `bicycle-${seed}.png` }), "100 millis")
})

program.pipe(Effect.provide(layer), Effect.provide(NodeContext.layer), NodeRunPod.runMain)
