/** Another API of the vendor, built on the client from outside, with nothing but the public entry. */
import * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import { RunPodError, RunPodHttpClient } from "effect-runpod"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

interface Pod {
  readonly id: string
  readonly name: string
}

const operations = {
  listPods: { name: "listPods", method: "GET", path: "/pods", repeat: "Repeatable" },
  createPod: { name: "createPod", method: "POST", path: "/pods", repeat: "Submit" },
  renamePod: { name: "renamePod", method: "PATCH", path: "/pods/{podId}", repeat: "Once" },
  podLog: {
    name: "podLog",
    method: "GET",
    path: "/pods/{podId}/log/{stream}",
    repeat: "Repeatable",
    limit: { limit: 2, window: "10 seconds", concurrency: 1 }
  }
} as const satisfies Record<string, RunPodHttpClient.Operation>

const readPod = (body: unknown): Either.Either<Pod, string> =>
  typeof body === "object" && body !== null && "id" in body && "name" in body
    ? Either.right({ id: String(body.id), name: String(body.name) })
    : Either.left("expected a pod")

class Pods extends Context.Tag("test/Pods")<
  Pods,
  {
    readonly create: (name: string) => Effect.Effect<Pod, RunPodError.RunPodError>
    readonly rename: (podId: string, name: string) => Effect.Effect<Pod, RunPodError.RunPodError>
    readonly log: (podId: string, stream: string) => Effect.Effect<unknown, RunPodError.RunPodError>
  }
>() {
  static readonly layer = Layer.effect(
    Pods,
    Effect.map(RunPodHttpClient.RunPodHttpClient, (client) => {
      const json = (body: object) => new TextEncoder().encode(JSON.stringify(body))
      return {
        create: (name) =>
          client.execute({ operation: operations.createPod, params: {}, body: json({ name }), read: readPod }),
        rename: (podId, name) =>
          client.execute({ operation: operations.renamePod, params: { podId }, body: json({ name }), read: readPod }),
        log: (podId, stream) =>
          client.execute({ operation: operations.podLog, params: { podId, stream }, read: Either.right })
      }
    })
  )
}

const over = (transport: ReturnType<typeof Scripted.make>, options: Partial<RunPodHttpClient.Options> = {}) =>
  Pods.layer.pipe(
    Layer.provide(RunPodHttpClient.layer({ apiKey: "secret-key", baseUrl: "https://rest.runpod.test/v1", ...options })),
    Layer.provide(Layer.succeed(HttpClient.HttpClient, transport.client))
  )

describe("RunPodHttpClient under another API", () => {
  it.effect("puts checked parameters into the path, and the body and the key on the request", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([Scripted.json({ id: "p/1", name: "b" })])
      const pod = yield* Effect.flatMap(Pods, (pods) => pods.rename("p/1", "b")).pipe(Effect.provide(over(transport)))
      assert.deepStrictEqual(pod, { id: "p/1", name: "b" })
      const asked = transport.asked[0]!
      assert.strictEqual(asked.method, "PATCH")
      assert.strictEqual(asked.url, "/v1/pods/p%2F1")
      assert.strictEqual(asked.authorization, "Bearer secret-key")
      assert.strictEqual(asked.body, `{"name":"b"}`)
    })
  )

  it.effect("a create whose answer is lost is ambiguous, and a refused one is sent again", () =>
    Effect.gen(function* () {
      const lost = Scripted.make(["reset"])
      const create = Effect.flatMap(Pods, (pods) => pods.create("a"))
      const error = yield* Effect.flip(finish(Effect.provide(create, over(lost))))
      assert.strictEqual(error._tag, "SubmitAmbiguousError")
      assert.strictEqual(error.operation, "createPod")
      assert.strictEqual(lost.asked.length, 1)
      const refused = Scripted.make([{ status: 429, body: "" }, Scripted.json({ id: "p", name: "a" })])
      assert.strictEqual((yield* finish(Effect.provide(create, over(refused)))).id, "p")
      assert.strictEqual(refused.asked.length, 2)
    })
  )

  it.effect("a row brings its own limit", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([Scripted.json({ lines: [] })])
      const logs = Effect.flatMap(Pods, (pods) => Effect.forEach([1, 2, 3], () => pods.log("p", "stdout")))
      yield* finish(Effect.provide(logs, over(transport)))
      assert.deepStrictEqual(transport.times(), [0, 0, 10_000])
      assert.strictEqual(transport.asked[0]?.url, "/v1/pods/p/log/stdout")
    })
  )

  it.effect("an error of an answer can be of its own making", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status: 404, body: `{"detail":"no such pod"}` }])
      const errorOf: RunPodHttpClient.Options["errorOf"] = (where, response) =>
        response.status === 404
          ? new RunPodError.BadRequestError({ ...where, status: 404, detail: "pod not found" })
          : RunPodError.fromResponse(where, response)
      const error = yield* Effect.flip(
        Effect.flatMap(Pods, (pods) => pods.rename("p", "b")).pipe(Effect.provide(over(transport, { errorOf })))
      )
      assert.strictEqual(error._tag, "BadRequestError")
      assert.strictEqual(error.detail, "pod not found")
    })
  )
})
