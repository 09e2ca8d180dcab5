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

/**
 * Whether requests are answered at once, not before this thread is blocked, or since it is; and how many have come and were
 * answered. Both threads see it.
 */
enum At {
  phase,
  asked,
  answered
}

enum Phase {
  open,
  held,
  blocked
}

/** A server on a thread that goes on while this one is blocked; paths with `never` are not answered. */
const serve = `
const { createServer } = require("node:http")
const { parentPort, workerData: state } = require("node:worker_threads")
const answer = (url, response) => {
  if (Atomics.load(state, ${At.phase}) === ${Phase.held}) return setTimeout(answer, 1, url, response)
  const status = url.endsWith("/run") ? "IN_QUEUE" : "COMPLETED"
  response.end(JSON.stringify({ id: "job-1", status, output: "done" }), () => {
    Atomics.add(state, ${At.answered}, 1)
    Atomics.notify(state, ${At.answered})
  })
}
const server = createServer((request, response) => {
  request.resume()
  request.on("end", () => {
    Atomics.add(state, ${At.asked}, 1)
    if (!request.url.includes("never")) answer(request.url, response)
  })
})
server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port))
`

const server = Effect.acquireRelease(
  Effect.promise(async () => {
    const state = new Int32Array(new SharedArrayBuffer(12))
    const worker = new Worker(serve, { eval: true, workerData: state })
    const [port] = (await once(worker, "message")) as [number]
    return { worker, state, baseUrl: `http://127.0.0.1:${port}/v2` }
  }),
  ({ worker }) => Effect.promise(() => worker.terminate())
)

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

/**
 * Blocks this thread, once the server has a request, until it has written its answer and the deadline has passed: in the phase of
 * the event loop that timers follow, as a process is that was stopped while it waited for its sockets.
 */
const suspend = (state: Int32Array, isAnswered: boolean) =>
  Effect.async<void>((resume) => {
    const asked = Atomics.load(state, At.asked)
    const block = () => {
      const answered = Atomics.load(state, At.answered)
      const until = performance.now() + options.requestTimeout + 50
      Atomics.store(state, At.phase, Phase.blocked)
      if (isAnswered) assert.notStrictEqual(Atomics.wait(state, At.answered, answered, 20_000), "timed-out")
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Math.max(0, until - performance.now()))
      Atomics.store(state, At.phase, Phase.open)
      resume(Effect.void)
    }
    const look = () => void (Atomics.load(state, At.asked) > asked ? setImmediate(block) : setTimeout(look, 1))
    Atomics.store(state, At.phase, Phase.held)
    look()
  })

type Suspended = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  isAnswered?: boolean
) => Effect.Effect<Exit.Exit<A, E>, never, R>

/** What came of an effect that runs while the process is suspended. */
const whileSuspended =
  (state: Int32Array): Suspended =>
  (effect, isAnswered = true) =>
    Effect.map(
      Effect.all([suspend(state, isAnswered), Effect.exit(effect)], { concurrency: "unbounded" }),
      ([, exit]) => exit
    )

const assertSuccess = (exit: Exit.Exit<unknown, unknown>) => assert.isTrue(Exit.isSuccess(exit), JSON.stringify(exit))

/** Opens a connection first: one that is made while the process is suspended would have sent nothing. */
const onServer = <A, E>(
  layerOf: (options: Options) => Layer.Layer<RunPod.RunPod>,
  use: (runPod: RunPod.Service, whileSuspended: Suspended) => Effect.Effect<A, E, RunPod.RunPod>
) =>
  Effect.gen(function* () {
    const { baseUrl, state } = yield* server
    const program = Effect.flatMap(RunPod.RunPod, (runPod) =>
      Effect.zipRight(runPod.status("ep", "job-1"), use(runPod, whileSuspended(state)))
    )
    return yield* Effect.provide(program, layerOf({ ...options, baseUrl }))
  })

describe("a process that was suspended past a deadline", () => {
  for (const [name, layerOf] of Object.entries(transports)) {
    it.scopedLive(`reads the answers that have come meanwhile, over ${name}`, () =>
      onServer(layerOf, (runPod, whileSuspended) =>
        Effect.map(whileSuspended(runPod.status("ep", "job-1")), assertSuccess)
      )
    )
  }

  it.scopedLive("knows the job of its submit, the end of its wait, and what was not answered", () =>
    onServer(NodeRunPod.layer, (runPod, whileSuspended) =>
      Effect.gen(function* () {
        const ep = yield* Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.String })
        assertSuccess(yield* whileSuspended(ep.run({ n: 1 })))
        assertSuccess(yield* whileSuspended(ep.attach("job-1").result({ timeout: 400, hold: "2 seconds" })))
        const unanswered = yield* whileSuspended(Effect.flip(runPod.status("ep", "never")), false)
        assert.isTrue(Exit.isSuccess(unanswered) && unanswered.value._tag === "RequestTimeoutError")
      })
    )
  )
})
