import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Fiber, Stream, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { RunPod } from "../../src/services/RunPod.js"

const { Fault } = Emulator

const health = Effect.flatMap(HttpClient.HttpClient, (client) =>
  client.get("https://anywhere.test/e/health", { headers: { authorization: "Bearer key" } })
)

const withFault = (...faults: ReadonlyArray<Emulator.Fault.Fault>) =>
  Effect.provide(Emulator.layer({ endpoints: { e: {} }, faults }))

const decode = (chunks: Iterable<Uint8Array>) => Buffer.concat([...chunks]).toString("utf8")

describe("a response in memory", () => {
  it.effect("is read alike as text, JSON, bytes and stream, as often as one likes", () =>
    Effect.gen(function* () {
      const response = yield* health
      const text = yield* response.text
      assert.deepStrictEqual(yield* response.json, JSON.parse(text))
      assert.strictEqual(decode([new Uint8Array(yield* response.arrayBuffer)]), text)
      assert.strictEqual(decode(yield* Stream.runCollect(response.stream)), text)
      assert.deepInclude(response.headers, { "content-type": "application/json", "content-length": `${text.length}` })
    }).pipe(withFault())
  )

  it.effect("whose body is cut gives the bytes before the cut, then fails, however it is read", () =>
    Effect.gen(function* () {
      const response = yield* health
      const length = Number(response.headers["content-length"])
      const taken: Array<Uint8Array> = []
      const streaming = Stream.runForEach(response.stream, (chunk) => Effect.sync(() => taken.push(chunk)))
      for (const read of [streaming, response.text, response.json, response.arrayBuffer]) {
        const error = yield* Effect.flip(read)
        assert.deepInclude(error, { _tag: "ResponseError", reason: "Decode" })
        assert.propertyVal(error.cause, "code", "UND_ERR_SOCKET")
      }
      assert.strictEqual(decode(taken).length, length >> 1)
    }).pipe(withFault(Fault.cutBody()))
  )

  it.effect("whose body stalls gives its first bytes and never ends", () =>
    Effect.gen(function* () {
      const response = yield* health
      const first = yield* Stream.runCollect(Stream.take(response.stream, 1))
      assert.strictEqual(decode(Chunk.toArray(first)), `{"jobs":{"`)
      const readers = yield* Effect.forEach([Stream.runDrain(response.stream), response.text, response.json], (read) =>
        Effect.fork(read)
      )
      yield* TestClock.adjust("1 hour")
      for (const reader of readers) assert.isNull(reader.unsafePoll())
      yield* Fiber.interruptAll(readers)
    }).pipe(withFault(Fault.stall({ afterBytes: 10 })))
  )
})

describe("a request in memory", () => {
  it.effect("has a form as its body, as fetch would send it", () =>
    Effect.gen(function* () {
      const form = new FormData()
      form.append("n", "value")
      form.append("file", new Blob(["bytes"]), "a.txt")
      const client = yield* HttpClient.HttpClient
      const response = yield* client.post("https://lb.api.runpod.ai/", {
        headers: { authorization: "Bearer key" },
        body: HttpBody.formData(form)
      })
      assert.deepStrictEqual(yield* response.json, { n: "value", file: "a.txt" })
    }).pipe(
      Effect.provide(
        Emulator.layer({
          endpoints: {},
          loadBalancers: {
            lb: {
              app: HttpApp.fromWebHandler(async (request) => {
                const form = await request.formData()
                const file = form.get("file")
                return Response.json({ n: form.get("n"), file: typeof file === "string" ? undefined : file?.name })
              })
            }
          }
        })
      )
    )
  )
})

describe("layerRunPod", () => {
  it.effect("the client's key is the emulator's, also where the client's options have an undefined one", () =>
    Effect.gen(function* () {
      const runPod = yield* RunPod
      assert.strictEqual((yield* runPod.health("e")).workers.idle, 0)
    }).pipe(
      Effect.provide(
        Emulator.layerRunPod({ endpoints: { e: {} }, apiKey: "only-this-one", client: { apiKey: undefined } })
      )
    )
  )
})
