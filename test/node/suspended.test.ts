/** What a process finds in its sockets when it goes on after it was suspended, or its event loop blocked, past its deadlines. */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { once } from "node:events"
import { Worker } from "node:worker_threads"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPod from "../../src/services/RunPod.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"

/** Answers every request after 150 ms, on a thread that goes on while this one is blocked; paths with `never` are not answered. */
const serve = `
const { createServer } = require("node:http")
const { parentPort } = require("node:worker_threads")
const server = createServer((request, response) => {
  request.resume()
  if (request.url.includes("never")) return
  const status = request.url.endsWith("/run") ? "IN_QUEUE" : "COMPLETED"
  setTimeout(() => response.end(JSON.stringify({ id: "job-1", status, output: "done" })), 150)
})
server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port))
`

const server = Effect.acquireRelease(
  Effect.promise(async () => {
    const worker = new Worker(serve, { eval: true })
    const [port] = (await once(worker, "message")) as [number]
    return { worker, baseUrl: `http://127.0.0.1:${port}/v2` }
  }),
  ({ worker }) => Effect.promise(() => worker.terminate())
)

/**
 * Blocks this thread from 50 ms on until the answer has long come and the deadline has passed: in the phase of the event loop that
 * timers follow, as a process is that was stopped while it waited for its sockets.
 */
const suspend = Effect.async<void>((resume) => {
  setTimeout(() => {
    setImmediate(() => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600)
      resume(Effect.void)
    })
  }, 50)
})

const options = { apiKey: "test-key", requestTimeout: 400, retry: RetryPolicy.none }

type Options = RunPod.Options

const transports: Readonly<Record<string, (options: Options) => Layer.Layer<RunPod.RunPod>>> = {
  NodeRunPod: (options) => NodeRunPod.layer(options),
  "NodeRunPod with transformClient": (options) =>
    NodeRunPod.layer({ ...options, transformClient: HttpClient.tapRequest(() => Effect.void) }),
  fetch: (options) => Layer.provide(RunPod.layer(options), FetchHttpClient.layer),
  "node:http": (options) => Layer.provide(RunPod.layer(options), NodeHttpClient.layer),
  "undici of @effect/platform-node": (options) => Layer.provide(RunPod.layer(options), NodeHttpClient.layerUndici)
}

/** What came of an effect that runs while the process is suspended. */
const whileSuspended = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.all([Effect.exit(effect), suspend], { concurrency: "unbounded" }), ([exit]) => exit)

const assertSuccess = (exit: Exit.Exit<unknown, unknown>) => assert.isTrue(Exit.isSuccess(exit), JSON.stringify(exit))

/** Opens a connection first: one that is made while the process is suspended would have sent nothing. */
const onServer = <A, E>(
  layerOf: (options: Options) => Layer.Layer<RunPod.RunPod>,
  use: (runPod: RunPod.Service) => Effect.Effect<A, E, RunPod.RunPod>
) =>
  Effect.gen(function* () {
    const { baseUrl } = yield* server
    const program = Effect.flatMap(RunPod.RunPod, (runPod) =>
      Effect.zipRight(runPod.status("ep", "job-0"), use(runPod))
    )
    return yield* Effect.provide(program, layerOf({ ...options, baseUrl }))
  })

describe("a process that was suspended past a deadline", () => {
  for (const [name, layerOf] of Object.entries(transports)) {
    it.scopedLive(`reads the answers that have come meanwhile, over ${name}`, () =>
      onServer(layerOf, (runPod) => Effect.map(whileSuspended(runPod.status("ep", "job-1")), assertSuccess))
    )
  }

  it.scopedLive("knows the job of its submit, the end of its wait, and what was not answered", () =>
    onServer(NodeRunPod.layer, (runPod) =>
      Effect.gen(function* () {
        const ep = yield* Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.String })
        assertSuccess(yield* whileSuspended(ep.run({ n: 1 })))
        assertSuccess(yield* whileSuspended(ep.attach("job-1").result({ timeout: 400, hold: "2 seconds" })))
        const late = yield* whileSuspended(Effect.flip(ep.call({ n: 1 }, { timeout: 400 })))
        assert(Exit.isSuccess(late) && late.value._tag === "WaitTimeoutError")
        assert.strictEqual(late.value.jobId, "job-1")
        const unanswered = yield* whileSuspended(Effect.flip(runPod.status("ep", "never")))
        assert.isTrue(Exit.isSuccess(unanswered) && unanswered.value._tag === "RequestTimeoutError")
      })
    )
  )
})
