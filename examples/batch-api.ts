/**
 * Hand many requests over to RunPod's batch API (beta), which runs them when it suits RunPod, and fetch all results at the
 * end. Not for work that somebody waits for: a batch can take hours.
 */
import { NodeRuntime } from "@effect/platform-node"
import { BatchApi } from "effect-runpod"
import { Console, Effect, Layer, Stream } from "effect"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"

const program = Effect.gen(function* () {
  const batches = yield* BatchApi.BatchApi
  const endpoint = yield* endpointId

  // RunPod tells results apart by ids of its own: a key in the input, returned by the handler, says whose result it is.
  const requests = Array.from({ length: 120 }, (_, key) => ({ input: { key, text: `sentence ${key}` } }))

  const { id } = yield* batches.create(endpoint)
  const { count, parts } = yield* batches.append(endpoint, id, requests)
  yield* Console.log(`${count} requests added in ${parts.length} call`)

  yield* batches.finalize(endpoint, id)
  const batch = yield* batches.settle(endpoint, id, {
    interval: "300 millis", // On RunPod, the default of 30 seconds is often enough.
    onProgress: ({ requestCompleted = 0, requestFailed = 0, requestTotal = 0 }) =>
      Console.log(`${requestCompleted + requestFailed} of ${requestTotal} have ended`)
  })
  yield* Console.log(`${batch.requestCompleted ?? 0} completed, ${batch.requestFailed ?? 0} failed`)

  const failures = yield* batches.results(endpoint, id).pipe(
    Stream.filter(({ status }) => status !== "COMPLETED"),
    Stream.tap(({ error }) => Console.log(`failed: ${String(error).slice(0, 80)}`)),
    Stream.runCount
  )
  yield* Console.log(`read all results, ${failures} of them failures`)
}).pipe(
  // What was added before an append went wrong is in the draft; the error tells which part that is.
  Effect.catchTag("AppendError", (error) => Console.error(error.message, error.parts))
)

const layer = BatchApi.layer.pipe(
  Layer.provide(
    runPodOrEmulator({
      workers: 8,
      handler: ({ key, text }) =>
        key === 7
          ? Effect.fail(new Error("a sentence that is too short"))
          : Effect.delay(Effect.succeed({ key, length: String(text).length }), "50 millis")
    })
  )
)

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
