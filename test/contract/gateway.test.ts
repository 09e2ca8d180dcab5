import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchApi from "../../src/services/BatchApi.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import { RunPod } from "../../src/services/RunPod.js"
import { counts, endpoint, inputs, kindOf } from "../support/batches.js"
import { finish } from "../support/finish.js"

type Page = readonly [status: number, body: string]

const pages: Readonly<Record<string, Page>> = {
  "nginx's 404": [404, "<html>\r\n<head><title>404 Not Found</title></head>\r\n<hr><center>nginx</center></html>"],
  "nginx's 403": [403, "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<hr><center>nginx</center></html>"],
  "a plain 404": [404, "404 page not found\n"],
  "an empty 404": [404, ""],
  "a 401 of a proxy": [401, "<html><h1>401 Authorization Required</h1></html>"],
  "a redirect to a login": [302, ""]
}

/** Until when, in milliseconds, or when. */
type When = number | ((now: number) => boolean)

/** Lets requests to these paths through to RunPod, but answers them itself at that time. */
const gateway =
  ([status, body]: Page, path: RegExp, when: When) =>
  (client: HttpClient.HttpClient): HttpClient.HttpClient =>
    HttpClient.transform(client, (answer, request) =>
      Effect.flatMap(Effect.zip(Effect.exit(answer), Clock.currentTimeMillis), ([real, now]) =>
        path.test(request.url) && (typeof when === "number" ? now < when : when(now))
          ? Effect.succeed(HttpClientResponse.fromWeb(request, new Response(body === "" ? null : body, { status })))
          : real
      )
    )

const behind = (page: Page, path: RegExp, when: When) =>
  Emulator.layerRunPod({
    endpoints: { ep: { execution: "10 seconds" } },
    client: { transformClient: gateway(page, path, when) }
  })

const runBehind =
  (...given: Parameters<typeof behind>) =>
  <E>(effect: Effect.Effect<void, E, BatchApi.BatchApi | Emulator.Emulator | RunPod>) =>
    finish(Effect.provide(effect, Layer.provideMerge(BatchApi.layer, behind(...given))), "20 minutes")

const minutes = (n: number) => n * 60_000

/** What gateways and frameworks say in JSON: enough for a submit, which they did not pass on, but nothing about a job. */
const inJson: typeof pages = {
  "a gateway's JSON 404": [404, `{"message":"no Route matched with those values"}`],
  "a framework's JSON 404": [404, `{"detail":"Not Found"}`],
  "API Gateway's JSON 403": [403, `{"message":"Forbidden"}`],
  "Kong's JSON 401": [401, `{"message":"Unauthorized"}`],
  "Spring's JSON 409": [
    409,
    `{"timestamp":"2026-01-01T00:00:00Z","status":409,"error":"Conflict","path":"/v2/ep/status"}`
  ],
  "another server's problem with 400": [400, `{"type":"about:blank","title":"Bad Request","status":400}`]
}

describe.each(Object.entries({ ...pages, ...inJson }))("behind a gateway that answers %s", (_, page) => {
  it.effect("a call polls on, and gets its output", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      assert.deepStrictEqual(yield* ep.call({ n: 1 }), { n: 1 })
      assert.strictEqual((yield* counts).byOperation.cancel.total, 0)
    }).pipe(runBehind(page, /\/status/, minutes(2)))
  )

  it.effect("a wait of another process polls on, too", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const { id } = yield* ep.run({ n: 1 })
      assert.deepStrictEqual(yield* ep.attach(id).result(), { n: 1 })
    }).pipe(runBehind(page, /\/status/, minutes(2)))
  )

  it.effect("a batch that expects expired jobs submits none again", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const journal = yield* BatchJournal.memory
      const options = { journal, onExpired: "resubmit", onAmbiguous: "resubmit" } as const
      const first = yield* Effect.fork(Batch.collect(ep, inputs(3), options))
      yield* Effect.sleep("5 seconds")
      yield* Fiber.interrupt(first)
      const report = yield* Batch.collect(ep, inputs(3), options)
      assert.deepStrictEqual(report.counts, { Completed: 3 })
      assert.strictEqual((yield* counts).submitted, 3)
    }).pipe(runBehind(page, /\/status/, minutes(2)))
  )

  it.effect("a request of a remote batch is not taken for gone because a gateway says so", () =>
    Effect.gen(function* () {
      const batches = yield* BatchApi.BatchApi
      const { id } = yield* batches.create("ep", [{ input: { n: 1 } }])
      const error = yield* Effect.flip(batches.deleteRequest("ep", id, "request-1"))
      assert.strictEqual(error._tag, "ServerError")
    }).pipe(runBehind(page, /\/requests\/request-1$/, minutes(60)))
  )
})

describe.each(Object.entries(pages))("behind a gateway that answers %s", (_, page) => {
  it.effect("a submit is ambiguous, since RunPod may have got it, and is sent once", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const error = yield* Effect.flip(ep.run({ n: 1 }))
      assert.strictEqual(error._tag, "SubmitAmbiguousError")
      assert.match(error.message, /not known whether the job was started \(ServerError: .*not (?:RunPod's|followed)/)
      assert.strictEqual((yield* counts).submitted, 1)
    }).pipe(runBehind(page, /\/run$/, minutes(2)))
  )

  it.effect("an operation that may be repeated is repeated", () =>
    Effect.gen(function* () {
      const { health } = yield* RunPod
      assert.isDefined((yield* health("ep")).workers)
    }).pipe(runBehind(page, /\/health$/, 200))
  )

  it.effect("a batch ends when ten of its submits were answered so, and none by RunPod", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const outcomes: Array<string> = []
      const batch = Stream.runForEach(Batch.run(ep, inputs(60), { concurrency: 4 }), (outcome) =>
        Effect.sync(() => outcomes.push(kindOf(outcome)))
      )
      const error = yield* Effect.flip(batch)
      assert.strictEqual(error._tag, "ServerError")
      assert.isAtMost((yield* counts).byOperation.run.total, 13)
      assert.deepStrictEqual([...new Set(outcomes)], ["SubmitAmbiguousError"])
    }).pipe(runBehind(page, /\/run$/, Infinity))
  )

  it.effect("a batch that RunPod has answered goes on", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const report = yield* Batch.collect(ep, inputs(60), { concurrency: 4 })
      assert.strictEqual(report.results.length, 60)
      assert.isAbove(report.counts["SubmitAmbiguousError"] ?? 0, 10)
      assert.isAbove(report.counts["Completed"] ?? 0, 5)
    }).pipe(runBehind(page, /\/run$/, (now) => now > 15_000 && now < 45_000))
  )
})

/** What RunPod says of a key that it does not know, and an authenticating proxy that has lost its session. */
const silent: Page = [401, ""]

describe("an empty 401", () => {
  it.effect("does not end a call whose submit was accepted a moment ago", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      assert.deepStrictEqual(yield* ep.call({ n: 1 }), { n: 1 })
      assert.strictEqual((yield* counts).byOperation.cancel.total, 0)
    }).pipe(runBehind(silent, /\/status/, minutes(4)))
  )

  it.effect("ends it when it has been all that came for five minutes", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const error = yield* Effect.flip(ep.call({ n: 1 }))
      assert.strictEqual(error._tag, "AuthenticationError")
    }).pipe(runBehind(silent, /\/status/, Infinity))
  )

  it.effect("to a submit, or to a wait that nothing is known of, is a wrong key at once", () =>
    Effect.gen(function* () {
      const ep = yield* endpoint
      const errors = yield* Effect.all([Effect.flip(ep.call({ n: 1 })), Effect.flip(ep.attach("job-1").result())])
      assert.deepStrictEqual(
        errors.map(({ _tag }) => _tag),
        ["AuthenticationError", "AuthenticationError"]
      )
      const { run, status, statusSync } = (yield* counts).byOperation
      assert.deepStrictEqual([run.total, status.total + statusSync.total], [1, 1])
    }).pipe(runBehind(silent, /./, Infinity))
  )
})
