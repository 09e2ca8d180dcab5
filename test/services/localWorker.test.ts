import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Duration, Effect, Exit, Fiber, Layer, Logger, Schema, type Scope, Stream } from "effect"
import * as Http from "node:http"
import { type Handler, serveLocalWorker } from "../../examples/support/localWorker.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import * as RunPod from "../../src/services/RunPod.js"
import { originOf } from "../support/listening.js"

const Numbered = Schema.Struct({ n: Schema.Number })
const endpoint = Endpoint.make("any-endpoint", { input: Numbered, output: Schema.Unknown, chunk: Schema.Unknown })

const later = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

/** Runs an effect over a worker with this handler, and gives the worker's requests with it. */
const over = <A, E>(
  handler: Handler,
  use: Effect.Effect<A, E, RunPod.RunPod | Scope.Scope>,
  options: RunPod.LocalOptions & { readonly isCoroutine?: boolean } = {}
) =>
  Effect.gen(function* () {
    const { isCoroutine = false, ...client } = options
    const { requests, url } = yield* serveLocalWorker(handler, { isCoroutine })
    const value = yield* Effect.provide(use, NodeRunPod.layerLocal({ url, ...client }))
    return { value, requests, names: requests.map((line) => line.replace(/test-[\w-]+$/, "{id}")) }
  })

function* yielding({ input }: { readonly input: Readonly<Record<string, unknown>> }) {
  for (let n = 0; n < Number(input["n"]); n++) yield { n }
}

describe("RunPod.layerLocal", () => {
  it.scopedLive("calls a handler that runs on this machine, without a key and whatever the endpoint's id", () =>
    Effect.gen(function* () {
      const { names, value } = yield* over(
        ({ input }) => ({ twice: Number(input["n"]) * 2 }),
        Effect.gen(function* () {
          const ep = yield* endpoint
          const outputs = [yield* ep.call({ n: 21 }), yield* ep.runSync({ n: 4 })]
          const job = yield* ep.run({ n: 5 })
          const states = yield* Stream.runCollect(job.watch())
          const again = yield* job.result()
          return [...outputs, again, Chunk.toReadonlyArray(states).at(-1)?.status, (yield* job.status).status]
        })
      )
      assert.deepStrictEqual(value, [{ twice: 42 }, { twice: 8 }, { twice: 10 }, "COMPLETED", "COMPLETED"])
      assert.deepStrictEqual(names, Array<Array<string>>(3).fill(["POST /run", "POST /status/{id}"]).flat())
    })
  )

  it.scopedLive("runs the handler once, however many ask for its job", () =>
    Effect.gen(function* () {
      let runs = 0
      const { names, value } = yield* over(
        async () => {
          runs++
          await later(300)
          return "done"
        },
        Effect.gen(function* () {
          const runPod = yield* RunPod.RunPod
          const job = yield* (yield* endpoint).run({ n: 1 })
          const first = yield* job.status
          const held = yield* runPod.statusSync("other", job.id, { wait: "1 second" })
          const asked = [job.result(), job.result({ hold: false, poll: { initial: 10, interval: 10 } })]
          const outputs = yield* Effect.all([...asked, Jobs.result("any-endpoint", job.id)], { concurrency: 3 })
          return [first.status, held.status, ...outputs]
        }),
        { isCoroutine: true }
      )
      assert.deepStrictEqual(value, ["IN_PROGRESS", "COMPLETED", "done", "done", "done"])
      assert.strictEqual(runs, 1)
      assert.deepStrictEqual(names, ["POST /run", "POST /status/{id}"])
    })
  )

  it.scopedLive(
    "a handler that takes longer than requests may is waited for, and a held request ends at its time",
    () =>
      Effect.gen(function* () {
        const { value } = yield* over(
          () => later(1_500),
          Effect.gen(function* () {
            const runPod = yield* RunPod.RunPod
            const job = yield* runPod.runSync("ep", { input: { n: 1 } }, { wait: "1 second" })
            const late = yield* RunPod.withDeadline(runPod.statusSync("ep", String(job.id)), "50 millis")
            const ended = yield* Jobs.settle("ep", String(job.id))
            return [job.status, late.status, ended.status]
          }),
          { requestTimeout: "500 millis" }
        )
        assert.deepStrictEqual(value, ["IN_PROGRESS", "IN_PROGRESS", "COMPLETED"])
      })
  )

  it.scopedLive("streams what a generator yields, and asks no more", () =>
    Effect.gen(function* () {
      const { names, value } = yield* over(
        yielding,
        Effect.gen(function* () {
          const job = yield* (yield* endpoint).run({ n: 3 })
          const chunks = yield* Stream.runCollect(job.stream())
          return { chunks: Chunk.toReadonlyArray(chunks), output: yield* job.result() }
        })
      )
      const chunks = [{ n: 0 }, { n: 1 }, { n: 2 }]
      assert.deepStrictEqual(value, { chunks, output: chunks })
      assert.deepStrictEqual(names, ["POST /run", "POST /stream/{id}"])
    })
  )

  it.scopedLive("streams the output of a generator that a wait has run, and nothing of a handler that is none", () =>
    Effect.gen(function* () {
      const streamed = Effect.gen(function* () {
        const job = yield* (yield* endpoint).run({ n: 2 })
        const first = yield* Effect.all([job.result(), Stream.runCollect(job.stream())], { concurrency: 2 })
        return [first[0], Chunk.toReadonlyArray(first[1])]
      })
      const generator = yield* over(yielding, streamed)
      assert.deepStrictEqual(generator.value, [
        [{ n: 0 }, { n: 1 }],
        [{ n: 0 }, { n: 1 }]
      ])
      const plain = yield* over(
        () => [1, 2],
        Effect.gen(function* () {
          const job = yield* (yield* endpoint).run({ n: 2 })
          return { chunks: Chunk.size(yield* Stream.runCollect(job.stream())), output: yield* job.result() }
        })
      )
      assert.deepStrictEqual(plain.value, { chunks: 0, output: [1, 2] })
      assert.deepStrictEqual(plain.names, ["POST /run", "POST /stream/{id}", "POST /status/{id}"])
    })
  )

  const failures: ReadonlyArray<readonly [string, Handler, string]> = [
    [
      "throws",
      () => {
        throw new Error("CUDA out of memory")
      },
      "CUDA out of memory"
    ],
    ["returns an error", () => ({ error: "no such model" }), "no such model"],
    ["returns nothing that the worker can answer with", () => ({}), "HTTP 500"],
    [
      "is a generator that throws",
      function* () {
        yield 1
        throw new Error("not told")
      },
      "HTTP 500"
    ]
  ]
  for (const [name, handler, says] of failures) {
    it.scopedLive(`a handler that ${name} fails its job, and is not run again`, () =>
      Effect.gen(function* () {
        const { names, value } = yield* over(
          handler,
          Effect.flatMap(endpoint, (ep) => Effect.flip(ep.call({ n: 1 })))
        )
        assert.strictEqual(value._tag, "JobFailedError")
        assert.include(value.message, says)
        assert.deepStrictEqual(names, ["POST /run", "POST /status/{id}"])
        const streamed = yield* over(
          handler,
          Effect.gen(function* () {
            const job = yield* (yield* endpoint).run({ n: 1 })
            return yield* Effect.flip(Stream.runDrain(job.stream()))
          })
        )
        assert.strictEqual(streamed.value._tag, "JobFailedError")
        assert.include(streamed.value.message, says)
      })
    )
  }

  it.scopedLive("a worker that dies while the handler runs fails the job at once", () =>
    Effect.gen(function* () {
      const server = Http.createServer((request, response) => {
        if (request.url === "/run") response.end(JSON.stringify({ id: "test-1", status: "IN_PROGRESS" }))
        else request.socket.destroy()
      })
      const url = yield* originOf(server)
      const error = yield* Effect.flatMap(endpoint, (ep) => Effect.flip(ep.call({ n: 1 }))).pipe(
        Effect.provide(NodeRunPod.layerLocal({ url }))
      )
      assert.strictEqual(error._tag, "JobFailedError")
      assert.include(error.message, "broke while the handler ran")
    })
  )

  it.scopedLive(
    "a job that the worker does not know is a JobNotFoundError; one it has forgotten since its submit has failed",
    () =>
      Effect.gen(function* () {
        const { value } = yield* over(
          () => 1,
          Effect.gen(function* () {
            const ep = yield* endpoint
            const unknown = yield* Effect.flip(ep.attach("test-nobody").result())
            const streamed = yield* Effect.flip(Stream.runDrain(ep.attach("test-nobody").stream()))
            const plain = ep.attach("test-none").result({ hold: false, poll: { initial: 5, interval: 5 } })
            return [unknown._tag, streamed._tag, (yield* Effect.flip(plain))._tag]
          })
        )
        assert.deepStrictEqual(value, Array(3).fill("JobNotFoundError"))
        const { url } = yield* serveLocalWorker(() => 1)
        const error = yield* Effect.gen(function* () {
          const job = yield* (yield* endpoint).run({ n: 1 })
          yield* Effect.promise(() => fetch(`${url}/status/${job.id}`, { method: "POST" }))
          return yield* Effect.flip(job.result())
        }).pipe(Effect.provide(NodeRunPod.layerLocal({ url })))
        assert.strictEqual(error._tag, "JobFailedError")
        assert.include(error.message, "another client has had the result")
      })
  )

  it.scopedLive("what the worker has not fails before anything is sent, and says so", () =>
    Effect.gen(function* () {
      const { names, value } = yield* over(
        () => 1,
        Effect.gen(function* () {
          const { cancel, health, purgeQueue, requests, retry } = yield* RunPod.RunPod
          const lacking: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>> = [
            cancel("ep", "a"),
            retry("ep", "a"),
            purgeQueue("ep"),
            health("ep"),
            requests("ep")
          ]
          return yield* Effect.forEach(lacking, Effect.flip)
        })
      )
      for (const error of value) {
        assert.strictEqual(error._tag, "BadRequestError")
        assert.match(
          error.message,
          /nothing was sent\. The local worker API \(--rp_serve_api\) has no \w+.* RunPod itself has it\.$/
        )
      }
      assert.deepStrictEqual(names, [])
    })
  )

  it.scopedLive("inputs that the worker refuses, and ids that no URL can hold, are BadRequestErrors", () =>
    Effect.gen(function* () {
      const { names, value } = yield* over(
        () => 1,
        Effect.gen(function* () {
          const { run, status } = yield* RunPod.RunPod
          const wrong = [run("ep", { input: [1] as never }), run("", { input: { n: 1 } }), status("ep", "")]
          return yield* Effect.forEach(wrong, (effect) => Effect.flip(effect as Effect.Effect<unknown, RunPodFailure>))
        })
      )
      assert.deepStrictEqual(
        value.map(({ _tag }) => _tag),
        ["BadRequestError", "BadRequestError", "BadRequestError"]
      )
      assert.deepStrictEqual(names, [])
    })
  )
  type RunPodFailure = Effect.Effect.Error<ReturnType<RunPod.Service["run"]>>

  it.scopedLive("an interrupted call logs one line, sends nothing more, and does not wait for the handler", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ message }) => lines.push(String(message)))
      )
      const { names, value } = yield* over(
        () => later(3_000),
        Effect.gen(function* () {
          const ep = yield* endpoint
          const call = yield* Effect.fork(ep.call({ n: 1 }))
          yield* Effect.sleep("150 millis")
          const [took] = yield* Effect.timed(Fiber.interrupt(call))
          return Duration.toMillis(took)
        }).pipe(Effect.provide(logger))
      )
      assert.isBelow(value, 1_000)
      assert.deepStrictEqual(names, ["POST /run", "POST /status/{id}"].slice(0, names.length))
      assert.lengthOf(lines, 1)
      assert.match(lines[0] ?? "", /Job test-[\w-]+ .* was not cancelled .* has no cancel/)
    })
  )

  it.scopedLive("of an interrupted batch no further handler is begun", () =>
    Effect.gen(function* () {
      let runs = 0
      yield* over(
        async () => {
          runs++
          await later(200)
        },
        Effect.gen(function* () {
          const ep = yield* endpoint
          const items = Array.from({ length: 20 }, (_, n) => ({ n }))
          const batch = yield* Effect.fork(Batch.collect(ep, items, { concurrency: 20 }))
          yield* Effect.sleep("500 millis")
          yield* Fiber.interrupt(batch)
          const begun = runs
          yield* Effect.sleep("700 millis")
          assert.isAtMost(runs, begun + 1)
          assert.isBelow(runs, 20)
        }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
      )
    })
  )

  it.scopedLive("a batch runs one handler at a time, or as many as it is told", () =>
    Effect.gen(function* () {
      const batched = (options: RunPod.LocalOptions & { readonly isCoroutine?: boolean }) => {
        let [atOnce, most] = [0, 0]
        const handler: Handler = async ({ input }) => {
          most = Math.max(most, ++atOnce)
          await later(20)
          atOnce--
          return input
        }
        const collected = Effect.flatMap(endpoint, (ep) =>
          Batch.collect(
            ep,
            Array.from({ length: 12 }, (_, n) => ({ n })),
            { concurrency: 12 }
          )
        )
        return Effect.map(over(handler, collected, options), ({ value }) => {
          assert.isTrue(value.results.every(({ result }) => Exit.isSuccess(result)))
          return most
        })
      }
      assert.strictEqual(yield* batched({ isCoroutine: true }), 1)
      assert.isAbove(yield* batched({ isCoroutine: true, concurrency: 8 }), 1)
    })
  )

  it.scopedLive("a worker that is not there yet is waited for, and no submit is in doubt", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flatMap(endpoint, (ep) => Effect.flip(ep.call({ n: 1 }))).pipe(
        Effect.provide(NodeRunPod.layerLocal({ url: "http://127.0.0.1:1", retry: RetryPolicy.none }))
      )
      assert.strictEqual(error._tag === "TransportError" && error.sent, "No")
      assert.match(error.message, /python handler\.py --rp_serve_api/)
    })
  )

  it.scopedLive("works over any HttpClient, and for FastAPI's own errors", () =>
    Effect.gen(function* () {
      const { url } = yield* serveLocalWorker(({ input }) => input)
      const layer = (path: string) =>
        Layer.provide(RunPod.layerLocal({ url: url + path, retry: RetryPolicy.none }), FetchHttpClient.layer)
      const called = Effect.flatMap(endpoint, (ep) => ep.call({ n: 7 }))
      assert.deepStrictEqual(yield* Effect.provide(called, layer("")), { n: 7 })
      const polled = Effect.flatMap(endpoint, (ep) => ep.attach("test-1").result())
      const wrong = yield* Effect.all(
        [called, polled].map((effect) => Effect.flip(Effect.provide(effect, layer("/v2"))))
      )
      assert.deepStrictEqual(
        wrong.map((error) => [error._tag, Reflect.get(error, "status"), Reflect.get(error, "detail")]),
        Array(2).fill(["BadRequestError", 404, "Not Found"])
      )
    })
  )

  it.scopedLive("a worker that is called as if it were RunPod is told of by the error", () =>
    Effect.gen(function* () {
      const { url } = yield* serveLocalWorker(({ input }) => input)
      const error = yield* Effect.flatMap(endpoint, (ep) => Effect.flip(ep.call({ n: 7 }))).pipe(
        Effect.provide(RunPod.layer({ apiKey: "none", baseUrl: url, retry: RetryPolicy.none })),
        Effect.provide(FetchHttpClient.layer)
      )
      assert.match(error.message, /call it with `RunPod\.layerLocal`/)
    })
  )
})
