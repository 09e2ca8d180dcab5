/**
 * A tour without an account: RunPod's stand-in behind a real server, a small fleet that starts cold and a network that
 * misbehaves. First six jobs, each followed on its way; then a batch of sixty; then what it all came to. A page shows it meanwhile.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Batch, Cost, Endpoint, JobError } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { NodeEmulator, NodeProgress, NodeRunPod } from "effect-runpod/Node"
import { Array, Console, Effect, Layer, Redacted, Schema } from "effect"
import { Source } from "effect-runpod-dashboard"
import * as NodeDashboard from "effect-runpod-dashboard/NodeDashboard"
import * as Board from "./demo/board.js"
import * as Summary from "./demo/summary.js"

const Input = Schema.Struct({ image: Schema.String, millis: Schema.Int })
const Output = Schema.Struct({ url: Schema.URL })
const Progress = Schema.Struct({ percent: Schema.Number })

/** The code on the workers. */
const upscale: Emulator.Handler = ({ image, millis }, { progress }) =>
  Effect.gen(function* () {
    if (image === "job-4.png" || image === "photo-13.png") return yield* Effect.fail(new Error("CUDA out of memory"))
    for (const percent of [25, 50, 75]) {
      yield* Effect.sleep(Number(millis) / 4)
      yield* progress({ percent })
    }
    yield* Effect.sleep(Number(millis) / 4)
    return { url: `https://images.example.com/${image}` }
  })

const server = NodeEmulator.layer({
  apiKey: "demo",
  endpoints: {
    upscaler: { workers: 3, coldStart: { min: "500 millis", max: "1500 millis" }, handler: upscale }
  },
  faults: [
    Emulator.Fault.rateLimited({ operations: ["run"], after: 4, times: 1, retryAfter: "1 second" }),
    Emulator.Fault.serverError({
      operations: ["status", "statusSync"],
      after: 10,
      times: 4,
      status: 503,
      body: "html"
    }),
    Emulator.Fault.resetBefore({ operations: ["status", "statusSync"], after: 30, times: 3 }),
    Emulator.Fault.truncated({ operations: ["statusSync"], after: 20, times: 2 }),
    Emulator.Fault.serverError({ operations: ["health"], times: 1, status: 503 })
  ]
})

const client = Layer.unwrapEffect(
  Effect.map(NodeEmulator.NodeEmulator, ({ url }) => NodeRunPod.layer({ apiKey: "demo", baseUrl: url }))
)

/** Six jobs at once, each shown on its way. */
const jobs = Effect.gen(function* () {
  const upscaler = yield* Endpoint.make("upscaler", { input: Input, output: Output, progress: Progress })
  const board = yield* Board.make(["submitting", "IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED"])

  return yield* Effect.forEach(
    Array.range(1, 6),
    (n) =>
      board.move(`job-${n}`, "submitting").pipe(
        Effect.zipRight(
          upscaler.call(
            { image: `job-${n}.png`, millis: 600 + ((n * 7) % 5) * 250 },
            {
              onProgress: ({ progress, status }) =>
                board.move(`job-${n}`, status, progress === undefined ? undefined : `${progress.percent} %`),
              progressInterval: "400 millis",
              timeout: "1 minute"
            }
          )
        ),
        // A job that failed is a result like others; a request that failed for good is not, and ends the demo.
        Effect.catchIf(JobError.isJobError, (error) => Effect.succeed(error))
      ),
    { concurrency: "unbounded" }
  )
}).pipe(Effect.scoped)

/** Sixty jobs as a batch, with a bar. */
const batch = Effect.gen(function* () {
  const upscaler = yield* Endpoint.make("upscaler", { input: Input, output: Output })
  const photos = Array.makeBy(60, (n) => ({ image: `photo-${n + 1}.png`, millis: 200 + ((n * 13) % 7) * 50 }))

  const tracker = yield* Batch.tracker
  return yield* Batch.collect(upscaler, photos, { key: ({ image }) => image, timeout: "1 minute", tracker }).pipe(
    NodeProgress.show(tracker, { label: "photos", output: process.stdout, lineInterval: "500 millis" })
  )
})

/** A page that shows the fleet, and the jobs as this program sees them. What a worker costs is invented. */
const dashboard = Effect.gen(function* () {
  const emulator = yield* NodeEmulator.NodeEmulator
  const cost = yield* Cost.make({ rates: Cost.rates({ "Demo GPU": { flex: 0.0002 } }), gpu: "Demo GPU" })
  const program = yield* Source.process("upscaler", { name: "this program", cost })
  const sources = [Source.emulator(emulator, "upscaler", { cost }), program]
  // The page is where this repository builds it: the tests run the demo as a bundle.
  return yield* NodeDashboard.serve({ sources, page: "packages/dashboard/dist/page" })
})

/** `npm run demo -- --dashboard` goes on until it is interrupted. */
const keepsDashboard = process.argv.includes("--dashboard")

const program = Effect.gen(function* () {
  const emulator = yield* NodeEmulator.NodeEmulator
  yield* Console.log(`An emulated RunPod listens at ${emulator.url}, on a network that misbehaves.`)
  const { url } = yield* dashboard
  yield* Console.log(`Its dashboard, while this runs: ${Redacted.value(url)}`)

  yield* Console.log("\nSix jobs on three workers, all cold:\n")
  const results = yield* jobs
  yield* Effect.forEach(results.filter(JobError.isJobError), (error) =>
    Console.log(`\n${error._tag}: ${error.message}`)
  )

  yield* Console.log("\nA batch of sixty, on ten workers:\n")
  yield* emulator.setWorkers("upscaler", 10)
  yield* Console.log(`\n${Batch.toText(yield* batch)}`)

  yield* Console.log("\nAll together:")
  yield* Summary.print(emulator)
  if (keepsDashboard) {
    yield* Console.log("\nThe dashboard goes on. Ctrl-C ends it.")
    yield* Effect.never
  }
})

const layer = client.pipe(Layer.provideMerge(Source.layerJobSpans()), Layer.provideMerge(server))

program.pipe(Effect.scoped, Effect.provide(layer), NodeRuntime.runMain)
