/**
 * A batch that is killed and goes on. This program starts itself a second time as a child, kills that in the middle of its
 * batch with SIGKILL, and then runs the same batch with the same journal: what was settled is replayed, what was submitted
 * is waited for, and nothing is submitted twice.
 *
 * The jobs must outlive the child, so the emulator that stands in for RunPod is served by the parent.
 */
import { NodeContext } from "@effect/platform-node"
import { FileSystem } from "@effect/platform"
import { Batch, BatchJournal, Endpoint } from "effect-runpod"
import { NodeEmulator, NodeRunPod } from "effect-runpod/Node"
import { Array, Config, Console, Effect, Option, Schema } from "effect"
import { spawn } from "node:child_process"
import { endpointId } from "./support/runpod.js"

const inputs = Array.makeBy(40, (seed) => ({ prompt: "a red bicycle", seed }))

/** What both processes do. Only the journal knows whether it is the first time. */
const runBatch = (file: string) =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make(yield* endpointId, {
      input: Schema.Struct({ prompt: Schema.String, seed: Schema.Int }),
      output: Schema.Unknown
    })
    const journal = yield* BatchJournal.file(file, { id: "bicycles" })
    return yield* Batch.collect(endpoint, inputs, { key: ({ seed }) => `bicycle-${seed}`, concurrency: 8, journal })
  }).pipe(Effect.scoped)

/** Runs the batch in a child process, and kills it after a while. */
const killedRun = (file: string, baseUrl: Option.Option<string>) =>
  Effect.async<void>((resume) => {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? "", file], {
      env: {
        ...process.env,
        ...Option.match(baseUrl, {
          onNone: () => ({}),
          onSome: (url) => ({ RUNPOD_BASE_URL: url, RUNPOD_API_KEY: "emulator" })
        })
      },
      stdio: ["ignore", "pipe", "inherit"]
    })
    child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), 700))
    child.once("exit", () => resume(Effect.void))
  })

const parent = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped()}/bicycles.jsonl`

  const isRunPod = Option.isSome(yield* Config.option(Config.nonEmptyString("RUNPOD_API_KEY")))
  const server = isRunPod
    ? Option.none()
    : Option.some(
        yield* NodeEmulator.serve({
          apiKey: "emulator",
          endpoints: { [yield* endpointId]: { workers: 8, execution: { min: "100 millis", max: "400 millis" } } }
        })
      )
  const baseUrl = Option.map(server, ({ url }) => url)

  yield* killedRun(file, baseUrl)
  const lines = (yield* fs.readFileString(file)).split("\n")
  const settled = lines.filter((line) => line.includes(`"Settled"`)).length
  yield* Console.log(`killed after ${settled} of ${inputs.length} outcomes`)

  const client = Option.match(baseUrl, {
    onNone: () => NodeRunPod.layerConfig(),
    onSome: (baseUrl) => NodeRunPod.layer({ apiKey: "emulator", baseUrl })
  })
  const report = yield* Effect.provide(runBatch(file), client)
  yield* Console.log(Batch.toText(report))
  yield* Console.log(`replayed from the journal: ${report.replayed}`)
  if (Option.isSome(server)) {
    yield* Console.log(`jobs submitted by both runs: ${(yield* server.value.counts).submitted}`)
  }
}).pipe(Effect.scoped)

const child = (file: string) =>
  Effect.zipRight(Console.log("begun"), Effect.provide(runBatch(file), NodeRunPod.layerConfig()))

const [file] = process.argv.slice(2)

NodeRunPod.runMain(Effect.provide(file === undefined ? parent : Effect.asVoid(child(file)), NodeContext.layer))
