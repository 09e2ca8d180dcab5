/**
 * A file of JSON lines through an endpoint into another file, as streams: neither file is ever in memory as a whole, and
 * there are only so many jobs in flight. An `images.jsonl` of an earlier run stays as it was until all outputs have come.
 */
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { Batch, Endpoint, Files, TerminalText } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Array, Console, Effect, Exit, Schema, Stream } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const Input = Schema.Struct({ prompt: Schema.String, seed: Schema.Int })

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  const prompts = Array.makeBy(100, (seed) => JSON.stringify({ prompt: "a red bicycle", seed }))
  const [from, to] = [`${folder}/prompts.jsonl`, `${folder}/images.jsonl`]
  yield* fs.writeFileString(from, prompts.join("\n"))
  // Before anything is opened: no link may lead both names to one file.
  yield* Files.checkDistinct([
    { name: "the prompts", path: from, access: "read" },
    { name: "the images", path: to, access: "write" }
  ])

  const endpoint = yield* Endpoint.make(yield* endpointId, { input: Input, output: Schema.Unknown })

  const inputs = fs.stream(from).pipe(
    Stream.decodeText(),
    Stream.splitLines,
    // A line that is no input ends the batch, once what is in flight has settled.
    Stream.mapEffect(Schema.decode(Schema.parseJson(Input)))
  )

  const images = yield* Files.writer(to)
  yield* Batch.run(endpoint, inputs, { concurrency: 40 }).pipe(
    // In the order they come; `index` is the line's number.
    Stream.map(({ index, input, result }) =>
      Exit.match(result, {
        onSuccess: (output) => ({ line: index + 1, seed: input.seed, output }),
        onFailure: (cause) => ({ line: index + 1, seed: input.seed, error: String(cause) })
      })
    ),
    Stream.runForEach((line) => images.write(`${JSON.stringify(line)}\n`))
  )
  yield* images.accept

  const lines = (yield* fs.readFileString(to)).trimEnd().split("\n")
  // What a worker has returned cannot drive the terminal.
  yield* Console.log(TerminalText.make(`${lines.length} lines, the first of them:\n${lines.slice(0, 3).join("\n")}`))
}).pipe(Effect.scoped)

const layer = runPodOrEmulator({
  workers: 20,
  handler: ({ seed }) => Effect.delay(Effect.succeed({ image: `bicycle-${seed}.png` }), "100 millis")
})

program.pipe(Effect.provide(layer), Effect.provide(NodeContext.layer), NodeRunPod.runMain)
