/**
 * A tour without an account: RunPod's stand-in behind a real server, a small fleet that starts cold, twelve jobs of which
 * one fails, and a network that misbehaves.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Endpoint, JobError } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { NodeEmulator, NodeRunPod } from "effect-runpod/Node"
import { Array, Console, Effect, Layer, Schema } from "effect"
import * as Board from "./demo/board.js"
import * as Summary from "./demo/summary.js"

const Input = Schema.Struct({ image: Schema.String, size: Schema.Int })
const Output = Schema.Struct({ url: Schema.URL })
const Progress = Schema.Struct({ percent: Schema.Number })

/** The code on the workers. */
const upscale: Emulator.Handler = ({ image, size }, { progress }) =>
  Effect.gen(function* () {
    if (image === "job-8.png") return yield* Effect.fail(new Error("CUDA out of memory"))
    for (const percent of [25, 50, 75]) {
      yield* Effect.sleep(Number(size) / 4)
      yield* progress({ percent })
    }
    yield* Effect.sleep(Number(size) / 4)
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
    Emulator.Fault.serverError({ operations: ["health"], times: 1, status: 503 })
  ]
})

const client = Layer.unwrapEffect(
  Effect.map(NodeEmulator.NodeEmulator, ({ url }) => NodeRunPod.layer({ apiKey: "demo", baseUrl: url }))
)

/** Twelve jobs at once, each shown on its way. */
const jobs = Effect.gen(function* () {
  const upscaler = yield* Endpoint.make("upscaler", { input: Input, output: Output, progress: Progress })
  const board = yield* Board.make(["submitting", "IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED"])

  return yield* Effect.forEach(
    Array.range(1, 12),
    (n) =>
      board.move(`job-${n}`, "submitting").pipe(
        Effect.zipRight(
          upscaler.call(
            { image: `job-${n}.png`, size: 600 + ((n * 7) % 5) * 250 },
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

const program = Effect.gen(function* () {
  const emulator = yield* NodeEmulator.NodeEmulator
  yield* Console.log(
    `An emulated RunPod listens at ${emulator.url}: three workers, all cold, and a network that misbehaves\n`
  )

  const results = yield* jobs
  yield* Effect.forEach(results.filter(JobError.isJobError), (error) =>
    Console.log(`\n${error._tag}: ${error.message}`)
  )

  const upscaler = yield* Endpoint.make("upscaler", { input: Input, output: Output })
  const { workers } = yield* upscaler.health
  yield* Console.log(`\nThe fleet afterwards: ${workers.idle} workers idle, ${workers.running} running`)

  yield* Summary.print(emulator)
})

program.pipe(Effect.provide(Layer.provideMerge(client, server)), NodeRuntime.runMain)
