/** Runs in Bun, of which `scripts/check-bun.mjs` is in charge: jobs over `NodeRunPod` on the emulator's server, and what proves no effect. */
import { Effect, Schema, Stream } from "effect"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import { RunPod } from "../../src/services/RunPod.js"

const Numbered = Schema.Struct({ n: Schema.Number })
const apiKey = "the-key-of-this-test"

const jobs = Effect.gen(function* () {
  const plain = yield* Endpoint.make("plain", { input: Numbered, output: Numbered })
  const words = yield* Endpoint.make("words", { input: Numbered, output: Schema.Unknown })
  const output = yield* plain.call({ n: 1 })
  const { completed } = yield* Batch.collect(
    plain,
    Array.from({ length: 50 }, (_, n) => ({ n }))
  )
  const job = yield* words.run({ n: 1 })
  return { output, completed, chunks: Array.from(yield* Stream.runCollect(job.stream())) }
})

const sentOver = (options: Partial<NodeRunPod.Options>) =>
  Effect.flatMap(RunPod, (runpod) => Effect.flip(runpod.run("ep", { input: { n: 1 } }))).pipe(
    Effect.map((error) => ("sent" in error ? error.sent : error._tag)),
    Effect.provide(NodeRunPod.layer({ apiKey, retry: RetryPolicy.none, ...options }))
  )

const program = Effect.gen(function* () {
  const endpoints = { plain: { execution: 20 }, words: { handler: () => Stream.make("a", "b") } }
  const { url } = yield* NodeEmulator.serve({ endpoints, apiKey })
  return {
    ...(yield* Effect.provide(jobs, NodeRunPod.layer({ apiKey, baseUrl: url, proxy: false }))),
    refused: yield* sentOver({ baseUrl: "http://127.0.0.1:1", proxy: false }),
    deadProxy: yield* sentOver({ baseUrl: "https://runpod.test", proxy: "http://127.0.0.1:1" })
  }
})

process.stdout.write(JSON.stringify(await Effect.runPromise(Effect.scoped(program))))
