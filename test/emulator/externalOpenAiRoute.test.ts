import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import { look, post, send } from "./support.js"

const emulated = Effect.provide(Emulator.layer({ endpoints: { e: { externalWorkers: true } } }))

const route = "/v2/e/openai/v1/chat/completions"

const headers = { authorization: "key" }
const take = (workerId = "w1") => send("GET", `/v2/e/job-take/${workerId}?gpu=none`, undefined, headers)
const chunk = (workerId: string, jobId: string, output: unknown) =>
  send("POST", `/v2/e/job-stream/${workerId}/${jobId}?gpu=none`, { output }, headers)
const done = (workerId: string, jobId: string, output: unknown, isStream = true) =>
  send("POST", `/v2/e/job-done/${workerId}/${jobId}?gpu=none&isStream=${isStream}`, { output }, headers)

describe("the OpenAI route of an endpoint whose workers are processes", () => {
  const answers: ReadonlyArray<readonly [says: string, output: unknown, isStream: boolean, text: string]> = [
    ["the only chunk, which is its output, too", [{ n: 1 }], true, '{"n":1}'],
    ["the only chunk of a generator that is not aggregated", [], true, '"chunk"'],
    ["the output of a handler that has sent a chunk itself", { final: true }, false, '{"final":true}'],
    ["an output of several", [1, 2], false, "[1,2]"],
    ["an output of none", [], false, "[]"]
  ]
  for (const [says, output, isStream, text] of answers) {
    it.effect(`gives ${says}`, () =>
      Effect.gen(function* () {
        const client = yield* Effect.fork(post(route, {}))
        yield* Effect.yieldNow()
        const { id } = JSON.parse((yield* take()).text)
        yield* chunk("w1", id, "chunk")
        yield* done("w1", id, output, isStream)
        assert.deepInclude(yield* Fiber.join(client), { status: 200, text })
      }).pipe(emulated)
    )
  }

  it.effect("ends a stream that has begun when its job is lost, which another worker would begin anew", () =>
    Effect.gen(function* () {
      const client = yield* Effect.fork(post(route, { stream: true }))
      yield* Effect.yieldNow()
      const { id } = JSON.parse((yield* take("w1")).text)
      yield* chunk("w1", id, "begun")
      yield* TestClock.adjust("45 seconds")
      assert.deepInclude(yield* Fiber.join(client), { status: 200, text: "begun" })
      yield* take("w2")
      yield* chunk("w2", id, "anew")
      yield* done("w2", id, ["anew"])
      assert.deepInclude(yield* look("e", id), { status: "COMPLETED", output: ["anew"] })
    }).pipe(emulated)
  )

  it.effect("streams what the second worker gives where the first has given nothing", () =>
    Effect.gen(function* () {
      const client = yield* Effect.fork(post(route, { stream: true }))
      yield* Effect.yieldNow()
      yield* take("w1")
      yield* TestClock.adjust("45 seconds")
      const { id } = JSON.parse((yield* take("w2")).text)
      yield* chunk("w2", id, "all")
      yield* done("w2", id, ["all"])
      assert.deepInclude(yield* Fiber.join(client), { status: 200, text: "all" })
    }).pipe(emulated)
  )
})
