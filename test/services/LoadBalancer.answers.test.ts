/** Load-balancing endpoints: what tells RunPod's refusals from answers of the program's server, and what that costs those. */
import * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import { LoadBalancer, RetryPolicy, RunPod, type RunPodError, RunPodHttpClient } from "effect-runpod"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

type Transport = ReturnType<typeof Scripted.make>
type Client = HttpClient.HttpClient.With<RunPodError.RunPodError>

const over = <A, E>(
  transport: Transport,
  program: (balancer: LoadBalancer.LoadBalancer) => Effect.Effect<A, E>,
  options: Partial<RunPod.Options> = {}
) =>
  finish(
    Effect.flatMap(LoadBalancer.make("abc123"), program).pipe(
      Effect.provide(transport.layer({ apiKey: "test-key", baseUrl: "https://api.runpod.ai/v2", ...options }))
    )
  )

const post = (balancer: Client, body: HttpBody.HttpBody = HttpBody.text("charge")) => balancer.post("/charge", { body })

const ofWorker = { "x-runpod-worker-id": "w1" }

const bytes = (text: string) => new TextEncoder().encode(text)

/** Two pieces, with so much time between them. */
const paused = (first: string, second: string, pause: Duration.DurationInput) =>
  Stream.concat(Stream.make(bytes(first)), Stream.fromEffect(Effect.delay(Effect.succeed(bytes(second)), pause)))

describe("an answer that names its worker", () => {
  const answers: ReadonlyArray<readonly [number, unknown]> = [
    [400, { status: 400, title: "Bad Request", detail: "no workers available" }],
    [400, { error: "no workers available" }],
    [400, "no workers available"],
    [400, { code: "worker_timeout", detail: "x", row: 17 }],
    [401, { status: 401, title: "Unauthorized", detail: "invalid api key" }],
    [404, { status: 404, title: "Not Found", detail: "affinity_worker_gone" }],
    [404, { id: "doc-7", status: "missing" }],
    [429, { status: 429, title: "Too Many Requests" }],
    [500, { status: 500, title: "Internal Server Error" }]
  ]
  it.effect.each(answers)("is the program's, whatever it says: %i %j", ([status, said]) =>
    Effect.gen(function* () {
      const body = typeof said === "string" ? said : JSON.stringify(said)
      const transport = Scripted.make([{ status, body, headers: ofWorker }])
      const answer = yield* over(transport, post)
      assert.strictEqual(answer.status, status)
      assert.strictEqual(yield* answer.text, body)
      assert.strictEqual(transport.asked.length, 1)
    })
  )

  it.effect.each([599, 600, 999])("may have the status %i", (status) =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status, body: "said", headers: ofWorker }])
      const answer = yield* over(transport, (balancer) => balancer.get("/x"))
      assert.strictEqual(answer.status, status)
      assert.strictEqual(yield* answer.text, "said")
      assert.strictEqual(transport.asked.length, 1)
    })
  )

  it.effect("is there with its headers, also when it is an error, and its body comes as it does", () =>
    Effect.gen(function* () {
      const stream = paused("first ", "second", "5 minutes")
      const transport = Scripted.make([{ status: 500, stream, headers: ofWorker }])
      const [took, text] = yield* over(transport, (balancer) =>
        Effect.flatMap(Effect.timed(balancer.get("/x")), ([took, answer]) =>
          Effect.map(answer.text, (text) => [took, text] as const)
        )
      )
      assert.strictEqual(Duration.toMillis(took), 0)
      assert.strictEqual(text, "first second")
      assert.strictEqual(transport.asked.length, 1)
    })
  )
})

describe("an answer that names no worker", () => {
  const passedOn: ReadonlyArray<readonly [number, string]> = [
    [400, `{"error":"no workers available in my pool"}`],
    [400, "no workers available in my pool"],
    [400, `{"message":"timed out waiting for worker"}`],
    [400, `{"message":"timed out waiting for worker thread 3; row 17 written"}`],
    [400, `{"error":"no workers available","row":17}`],
    [400, `{"error":{"message":"no workers available","row":17}}`],
    [400, `{"code":"worker_timeout","detail":"x","row":17}`],
    [401, `{"error":"unauthorized"}`],
    [404, `{"detail":"affinity_worker_gone"}`],
    [404, `{"id":"doc-7","status":"missing"}`],
    [409, `{"status":500,"title":"Conflict","detail":"x"}`],
    [500, `{"id":"doc-7","status":"failed","step":3}`],
    [503, `{"error":"no workers available"}`]
  ]
  it.effect.each(passedOn)("is the program's unless all of it is RunPod's: %i %s", ([status, body]) =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status, body }])
      const answer = yield* over(transport, post)
      assert.strictEqual(answer.status, status)
      assert.strictEqual(yield* answer.text, body)
      assert.strictEqual(transport.asked.length, 1)
    })
  )

  const refused: ReadonlyArray<readonly [string, number, string]> = [
    ["NoWorkerError", 400, "no workers available\n"],
    ["NoWorkerError", 400, `{"error":"worker_timeout"}`],
    ["WorkerGoneError", 404, "affinity_worker_gone"]
  ]
  it.effect.each(refused)("is %s where it says that and nothing else: %i %s", ([tag, status, body]) =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status, body }])
      const error = yield* Effect.flip(over(transport, post, { retry: RetryPolicy.none }))
      assert.strictEqual(error._tag, tag)
    })
  )

  it.effect("is read for 2 seconds to tell whose it is, and is the program's then", () =>
    Effect.gen(function* () {
      const ticks = Stream.repeatEffect(Effect.as(Effect.sleep("1 second"), bytes("data: x\n\n")))
      const streams = [
        ticks,
        paused("first ", "second", "6 seconds"),
        paused(`{"status":400,`, `"title":"x"}`, "6 seconds")
      ]
      for (const stream of streams) {
        const transport = Scripted.make([{ status: 422, stream }])
        const [took, pieces] = yield* over(transport, (balancer) =>
          Effect.flatMap(Effect.timed(balancer.get("/x")), ([took, answer]) =>
            Effect.map(Stream.runCollect(Stream.take(answer.stream, 2)), (pieces) => [took, pieces] as const)
          )
        )
        assert.strictEqual(Duration.toMillis(took), 2_000)
        assert.strictEqual(Chunk.size(pieces), 2)
        assert.strictEqual(transport.asked.length, 1)
      }
    })
  )

  it.effect("stands still for `idleTimeout` after that, and fails then as the body of any answer", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status: 500, stream: Stream.concat(Stream.make(bytes("a")), Stream.never) }])
      const [took, error] = yield* over(transport, (balancer) =>
        Effect.flatMap(balancer.get("/x"), ({ text }) => Effect.timed(Effect.flip(text)))
      )
      assert.strictEqual(Duration.toSeconds(took), 330)
      assert.strictEqual((error.cause as { _tag: string })._tag, "RequestTimeoutError")
      assert.strictEqual(transport.asked.length, 1)
    })
  )
})

describe("an error of RunPod's", () => {
  it.effect("is one of `HttpClient`'s, whatever its status", () =>
    Effect.gen(function* () {
      const problem = { status: 999, title: "Odd", detail: "x" }
      const transport = Scripted.make([Scripted.json(problem, 999)])
      const error = yield* Effect.flip(
        over(transport, (balancer) => RunPodHttpClient.withHttpErrors(balancer).post("/x"), { retry: RetryPolicy.none })
      )
      assert.strictEqual(error._tag === "ResponseError" && error.response.status, 999)
    })
  )
})

describe("a body that may be one that can be read once", () => {
  const noWorker = Scripted.json({ status: 400, title: "Bad Request", detail: "no workers available" }, 400)
  const bodies: ReadonlyArray<readonly [string, () => HttpBody.HttpBody, number]> = [
    ["a stream", () => HttpBody.stream(Stream.make(bytes("a"))), 1],
    ["a raw web stream", () => HttpBody.raw(new Blob(["a"]).stream()), 1],
    ["bytes", () => HttpBody.uint8Array(bytes("a")), 2],
    ["a raw blob", () => HttpBody.raw(new Blob(["a"])), 2],
    ["a raw string", () => HttpBody.raw("a"), 2]
  ]
  it.effect.each(bodies)("is not sent again, other bodies are: %s", ([, body, times]) =>
    Effect.gen(function* () {
      const transport = Scripted.make([noWorker, Scripted.json("done")])
      const exit = yield* Effect.either(over(transport, (balancer) => post(balancer, body())))
      assert.strictEqual(transport.asked.length, times)
      if (times === 1) assert.strictEqual(exit._tag === "Left" && exit.left._tag, "NoWorkerError")
    })
  )
})

describe("a request that waits for the first answer of its session", () => {
  it.effect("fails at its deadline without being sent, and the others go on", () =>
    Effect.gen(function* () {
      const transport = Scripted.make(() => Scripted.json(1, 200, ofWorker), "10 seconds")
      const [error, took] = yield* over(transport, (balancer) =>
        Effect.gen(function* () {
          const session = yield* balancer.session()
          const requests = [session.get("/a"), RunPod.withDeadline(session.get("/b"), "3 seconds"), session.get("/c")]
          const [, late] = yield* Effect.all(
            requests.map((request) => Effect.either(request)),
            { concurrency: 3 }
          )
          return [late?._tag === "Left" ? late.left : undefined, yield* Clock.currentTimeMillis] as const
        })
      )
      assert.strictEqual(error?._tag === "RequestTimeoutError" && error.sent, "No")
      assert.strictEqual(error?._tag === "RequestTimeoutError" && Duration.toSeconds(error.timeout), 3)
      assert.strictEqual(error?.path, "/b")
      assert.strictEqual(took, 20_000)
      assert.deepStrictEqual(
        transport.asked.map(({ url }) => url),
        ["/a", "/c"]
      )
    })
  )
})
