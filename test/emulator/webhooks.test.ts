import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import { Clock, type Duration, Effect, Layer, TestClock } from "effect"
import { createServer, type IncomingHttpHeaders } from "node:http"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as RunPod from "../../src/services/RunPod.js"
import { post, read, submit } from "./support.js"

const { Fault } = Emulator
const webhook = "https://app.example/hooks?token=t0ken"

interface Arrived {
  readonly at: number
  readonly attempt: number
  readonly body: Record<string, unknown>
}

/** A receiver that answers the n-th delivery with the n-th status, the last one again and again. */
const receiver = (...statuses: ReadonlyArray<number | "reset" | "throw" | "hang">) => {
  const arrived: Array<Arrived> = []
  const deliver: Emulator.Deliver = ({ attempt, body }) =>
    Effect.flatMap(Effect.clock, (clock) => {
      arrived.push({ at: clock.unsafeCurrentTimeMillis(), attempt, body: JSON.parse(body) })
      const status = statuses[Math.min(arrived.length, statuses.length) - 1] ?? 200
      if (status === "throw") throw new Error("a receiver that is broken")
      if (status === "hang") return Effect.never
      return status === "reset" ? Effect.fail("reset") : Effect.succeed(status)
    })
  return { arrived, deliver, times: () => arrived.map(({ at }) => at) }
}

const emulator = (options: Partial<Emulator.Options>) =>
  Effect.provide(Emulator.layer({ endpoints: { echo: {}, slow: { execution: "1 second", workers: 100 } }, ...options }))

const job = { input: { n: 1 }, webhook }

describe("a webhook", () => {
  const hooks = receiver()
  it.effect("gets the job as /status gives it, with input and webhook echoed", () =>
    Effect.gen(function* () {
      const id = yield* submit("slow", job)
      yield* TestClock.adjust("2 seconds")
      const { workerId, ...status } = yield* read("slow", id)
      assert.isString(workerId)
      assert.deepStrictEqual(hooks.arrived, [{ at: 1000, attempt: 1, body: { ...status, input: { n: 1 }, webhook } }])
      assert.deepStrictEqual(Object.keys(hooks.arrived[0]?.body ?? {}), [
        ...["delayTime", "executionTime", "id", "input", "output", "status", "webhook"]
      ])
    }).pipe(emulator({ deliver: hooks.deliver }))
  )

  const failing = receiver()
  it.effect("is sent for failures and ends by hand, not for cancelled jobs nor for those without a webhook", () =>
    Effect.gen(function* () {
      const { end } = yield* Emulator.Emulator
      yield* submit("failing", job)
      const timedOut = yield* submit("slow", job)
      const cancelled = yield* submit("slow", job)
      yield* submit("slow")
      yield* end("slow", timedOut, { status: "TIMED_OUT" })
      yield* post(`/v2/slow/cancel/${cancelled}`)
      yield* TestClock.adjust("1 minute")
      assert.sameMembers(
        failing.arrived.map(({ body }) => body["status"]),
        ["FAILED", "TIMED_OUT"]
      )
    }).pipe(
      emulator({
        deliver: failing.deliver,
        endpoints: { failing: { handler: () => Effect.fail("bad input") }, slow: { execution: "1 second" } }
      })
    )
  )

  describe.each([
    { answers: [200], times: [0], why: "any 2xx acknowledges it" },
    { answers: [204], times: [0], why: "any 2xx acknowledges it" },
    { answers: [503, 200], times: [0, 5000], why: "a second try comes after 5 s" },
    { answers: [404, 302, 200], times: [0, 5000, 15000], why: "a third comes 15 s after the first" },
    { answers: [500], times: [0, 5000, 15000], why: "then it is dropped for good" },
    { answers: ["reset", "throw", 200] as const, times: [0, 5000, 15000], why: "what goes wrong is no 2xx" },
    { answers: ["hang", 200] as const, times: [0, 30000], why: "an answer that never comes is waited for 30 s" }
  ])("answered with $answers", ({ answers, times, why }) => {
    const hooks = receiver(...answers)
    it.effect(why, () =>
      Effect.gen(function* () {
        yield* submit("echo", job)
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(hooks.times(), times)
        assert.deepStrictEqual(
          hooks.arrived.map(({ attempt }) => attempt),
          times.map((_, index) => index + 1)
        )
        const { deliveries } = yield* Emulator.Emulator
        assert.deepStrictEqual(
          (yield* deliveries).map(({ at, status }) => ({ at, status })),
          times.map((at, index) => {
            const answer = answers[Math.min(index, answers.length - 1)]
            return { at, status: typeof answer === "number" ? answer : undefined }
          })
        )
      }).pipe(emulator({ deliver: hooks.deliver }))
    )
  })
})

describe("a fault of webhooks", () => {
  const run = (count: number, faults: ReadonlyArray<Emulator.Fault.Fault>, gap?: Duration.DurationInput) => {
    const hooks = receiver()
    return Effect.gen(function* () {
      const start = yield* Clock.currentTimeMillis
      for (let n = 0; n < count; n++) {
        yield* submit("echo", { input: { n }, webhook })
        if (gap !== undefined) yield* TestClock.adjust(gap)
      }
      yield* TestClock.adjust("10 minutes")
      const emulator = yield* Emulator.Emulator
      return {
        arrived: hooks.arrived.map(({ at, body }) => [at - start, (body["input"] as { readonly n: number }).n]),
        counts: yield* emulator.counts,
        deliveries: yield* emulator.deliveries
      }
    }).pipe(emulator({ deliver: hooks.deliver, faults }))
  }

  it.effect("lost: no try arrives", () =>
    Effect.gen(function* () {
      const { arrived, counts, deliveries } = yield* run(2, [Fault.webhookLost({ times: 1 })])
      assert.deepStrictEqual(arrived, [[0, 1]])
      assert.strictEqual(counts.faults.WebhookLost, 1)
      assert.deepStrictEqual(deliveries[0]?.faults, ["WebhookLost"])
      assert.isUndefined(deliveries[0]?.status)
    })
  )

  it.effect("duplicated: it comes again although it was acknowledged", () =>
    Effect.gen(function* () {
      const twice = yield* run(2, [Fault.webhookDuplicated({ times: 1 })])
      assert.deepStrictEqual(twice.arrived, [
        [0, 0],
        [0, 0],
        [0, 1]
      ])
      const spread = yield* run(1, [Fault.webhookDuplicated({ copies: 3, gap: "2 seconds" })])
      assert.deepStrictEqual(
        spread.arrived.map(([at]) => at),
        [0, 2000, 4000]
      )
    })
  )

  it.effect("late: it comes that much later", () =>
    Effect.gen(function* () {
      const { arrived } = yield* run(2, [Fault.webhookLate({ by: "90 seconds", times: 1 })])
      assert.deepStrictEqual(arrived, [
        [0, 1],
        [90_000, 0]
      ])
    })
  )

  it.effect("out of order: later ones overtake it, or its time comes", () =>
    Effect.gen(function* () {
      const overtaken = yield* run(4, [Fault.webhookOutOfOrder({ behind: 2, times: 1 })], "1 second")
      assert.deepStrictEqual(overtaken.arrived, [
        [1000, 1],
        [2000, 2],
        [2000, 0],
        [3000, 3]
      ])
      const alone = yield* run(1, [Fault.webhookOutOfOrder({ within: "7 seconds" })])
      assert.deepStrictEqual(alone.arrived, [[7000, 0]])
    })
  )

  it.effect("applies at its rate, to the same webhooks for the same seed, and to no request", () =>
    Effect.gen(function* () {
      const faults = [Fault.webhookLost({ rate: 0.3 })]
      const [first, second] = [yield* run(200, faults), yield* run(200, faults)]
      assert.deepStrictEqual(first.arrived, second.arrived)
      assert.approximately(first.arrived.length, 140, 20)
      assert.strictEqual(first.counts.byOperation.run.byStatus[200], 200)
    })
  )
})

describe("in memory", () => {
  it.effect("without a receiver all three tries fail", () =>
    Effect.gen(function* () {
      yield* submit("echo", job)
      yield* TestClock.adjust("1 minute")
      const { deliveries } = yield* Emulator.Emulator
      assert.strictEqual((yield* deliveries).length, 3)
    }).pipe(emulator({}))
  )

  it.effect("the HttpClient that the layer is provided with posts it", () =>
    Effect.gen(function* () {
      const urls: Array<string> = []
      const client = HttpClient.make((request, url) => {
        urls.push(`${request.method} ${url.href} ${request.headers["user-agent"]}`)
        return Effect.succeed(HttpClientResponse.fromWeb(request, new Response("")))
      })
      const layer = Layer.provide(
        Emulator.layerRunPod({ endpoints: { echo: {} } }),
        Layer.succeed(HttpClient.HttpClient, client)
      )
      yield* Effect.gen(function* () {
        const runPod = yield* RunPod.RunPod
        yield* runPod.run("echo", job)
        yield* TestClock.adjust("1 minute")
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual(urls, [`POST ${webhook} Go-http-client/2.0`])
    })
  )
})

describe("over HTTP", () => {
  it.scopedLive("it is posted with fetch, as RunPod posts it", () =>
    Effect.gen(function* () {
      const requests: Array<{
        method?: string | undefined
        url?: string | undefined
        headers: IncomingHttpHeaders
        body: string
      }> = []
      let arrived = (): void => {}
      const server = createServer((request, response) => {
        let body = ""
        request.on("data", (chunk: Buffer) => (body += chunk.toString("utf8")))
        request.on("end", () => {
          requests.push({ method: request.method, url: request.url, headers: request.headers, body })
          response.writeHead(204).end()
          arrived()
        })
      })
      yield* Effect.acquireRelease(
        Effect.async<void>((resume) => {
          server.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => server.close().closeAllConnections())
      )
      const address = server.address()
      assert.isObject(address)
      const url = `http://127.0.0.1:${(address as { readonly port: number }).port}/hooks?token=abc`
      const emulator = yield* NodeEmulator.serve({ endpoints: { echo: {} } })
      const done = new Promise<void>((resolve) => (arrived = resolve))
      const submitted = yield* Effect.promise(() =>
        fetch(`${emulator.url}/echo/run`, {
          method: "POST",
          headers: { authorization: "Bearer key" },
          body: JSON.stringify({ input: { text: "ü" }, webhook: url })
        })
      )
      assert.strictEqual(submitted.status, 200)
      yield* Effect.promise(() => done)
      const [request] = requests
      if (request === undefined) return assert.fail("nothing was posted")
      assert.strictEqual(request.method, "POST")
      assert.strictEqual(request.url, "/hooks?token=abc")
      assert.strictEqual(request.headers["user-agent"], "Go-http-client/2.0")
      assert.strictEqual(request.headers["content-type"], "application/json")
      assert.strictEqual(request.headers["content-length"], String(Buffer.byteLength(request.body)))
      assert.deepInclude(JSON.parse(request.body), { status: "COMPLETED", input: { text: "ü" }, webhook: url })
    })
  )
})
