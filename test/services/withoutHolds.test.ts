/** Servers that know /status but not /status-sync: gateways, proxies and stand-ins of RunPod. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import * as Jobs from "../../src/services/Jobs.js"
import { RunPod } from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted

const operationOf = ({ url }: Scripted.Asked): string => url.split("/")[3]?.split("?")[0] ?? ""

const server = (answers: Readonly<Record<string, Scripted.Answer | undefined>>) => {
  const transport = Scripted.make((request) => answers[operationOf(request)] ?? "hang")
  return { ...transport, operations: () => transport.asked.map(operationOf) }
}

const running = json({ status: "IN_PROGRESS" })
const completed = json({ status: "COMPLETED", output: 1 })
const ask = Effect.flatMap(RunPod, (runPod) => runPod.statusSync("ep", "a"))

describe("a server without /status-sync", () => {
  const unknown: ReadonlyArray<readonly [string, Scripted.Answer]> = [
    ["FastAPI's 404", json({ detail: "Not Found" }, 404)],
    ["FastAPI's 405", json({ detail: "Method Not Allowed" }, 405)],
    ["a 404 without a body", { status: 404, body: "" }],
    ["a page with a 404", { status: 404, body: "<html><h1>Cannot GET /status-sync</h1></html>" }]
  ]
  for (const [name, answer] of unknown) {
    it.effect(`${name} makes /status answer, and the next requests go there at once`, () =>
      Effect.gen(function* () {
        const t = server({ "status-sync": answer, status: running })
        const seen = yield* finish(Effect.provide(Effect.all([ask, ask, ask]), t.layer()))
        assert.deepStrictEqual(
          seen.map(({ status }) => status),
          ["IN_PROGRESS", "IN_PROGRESS", "IN_PROGRESS"]
        )
        assert.deepStrictEqual(t.operations(), ["status-sync", "status", "status", "status"])
      })
    )
  }

  it.effect(
    "is remembered by endpoint, and asked anew after ten minutes: it may have been a gateway's bad moment",
    () =>
      Effect.gen(function* () {
        const t = server({ "status-sync": json({ detail: "Not Found" }, 404), status: running })
        yield* Effect.gen(function* () {
          const { statusSync } = yield* RunPod
          yield* statusSync("ep", "a")
          yield* statusSync("other", "a")
          yield* TestClock.adjust("601 seconds")
          yield* statusSync("ep", "a")
        }).pipe(Effect.provide(t.layer()))
        assert.deepStrictEqual(t.operations(), Array<Array<string>>(3).fill(["status-sync", "status"]).flat())
      })
  )

  it.effect("waits end there, without a tight loop", () =>
    Effect.gen(function* () {
      let polls = 0
      const transport = Scripted.make((request) =>
        operationOf(request) === "status" ? (++polls < 5 ? running : completed) : json({ detail: "Not Found" }, 404)
      )
      const job = yield* finish(Effect.provide(Jobs.settle("ep", "a"), transport.layer()))
      assert.strictEqual(job.status, "COMPLETED")
      const operations = transport.asked.map(operationOf)
      assert.strictEqual(operations.filter((operation) => operation === "status-sync").length, 1)
      const [first = 0, ...rest] = transport.times()
      assert.isAbove((rest.at(-1) ?? 0) - first, 3_000)
    })
  )

  const definite: ReadonlyArray<readonly [string, Scripted.Answer, string]> = [
    ["of a job", json({ status: 404, title: "Not Found", detail: "job not found" }, 404), "JobNotFoundError"],
    ["of an endpoint", json({ status: 404, detail: "endpoint not found" }, 404), "EndpointNotFoundError"]
  ]
  for (const [name, answer, tag] of definite) {
    it.effect(`RunPod's own word ${name} that is not found is no such thing`, () =>
      Effect.gen(function* () {
        const t = server({ "status-sync": answer, status: running })
        const error = yield* Effect.flip(Effect.provide(ask, t.layer()))
        assert.strictEqual(error._tag, tag)
        assert.deepStrictEqual(t.operations(), ["status-sync"])
      })
    )
  }

  it.effect("whose /status knows nothing either says what that said, and holds are tried again", () =>
    Effect.gen(function* () {
      const t = server({
        "status-sync": json({ detail: "Not Found" }, 404),
        status: json({ status: 404, detail: "job not found" }, 404)
      })
      const error = yield* Effect.provide(Effect.zipRight(Effect.flip(ask), Effect.flip(ask)), t.layer())
      assert.strictEqual(error._tag === "JobNotFoundError" && error.detail, "job not found")
      assert.deepStrictEqual(t.operations(), ["status-sync", "status", "status-sync", "status"])
    })
  )
})
