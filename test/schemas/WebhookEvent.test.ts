import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as WebhookEvent from "effect-runpod/WebhookEvent"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"

const id = "7a40-5be1-u1"
const webhook = "https://app.example/hooks/runpod?token=cap_Zk81hQ5rT0"

describe("WebhookEvent.fromBody", () => {
  it("reads a delivery of a finished job with its echoed input", () => {
    const event = Either.getOrThrow(
      WebhookEvent.fromBody({
        id,
        status: "COMPLETED",
        delayTime: 9100,
        executionTime: 74,
        input: { prompt: "a fox" },
        output: { seed: 3 },
        webhook
      })
    )
    assert.strictEqual(event.job.id, id)
    assert.deepStrictEqual(event.job.output, { seed: 3 })
    assert.deepStrictEqual(event.input, { prompt: "a fox" })
  })

  it("reads a delivery of a failed job, and one without an input", () => {
    const event = Either.getOrThrow(WebhookEvent.fromBody({ id, status: "FAILED", error: "bad input", webhook }))
    assert.strictEqual(event.job.status, "FAILED")
    assert.strictEqual(event.job.error, "bad input")
    assert.isFalse("input" in event)
  })

  it("prints nothing of the webhook's URL", () => {
    const event = Either.getOrThrow(WebhookEvent.fromBody({ id, status: "COMPLETED", output: 1, webhook }))
    const encoded = Schema.encodeSync(WebhookEvent.WebhookEvent)(event)
    for (const value of [event, encoded]) {
      assert.notInclude(JSON.stringify(value), "cap_Zk81hQ5rT0")
      assert.notInclude(inspect(value, { depth: 9, showHidden: true }), "cap_Zk81hQ5rT0")
    }
  })

  it.each<[unknown, RegExp]>([
    // A local development server sends no more than this.
    [{ output: { results: [] } }, /string "status", got nothing/],
    [{ status: "COMPLETED", output: 1 }, /string "id", got none/],
    [{ id: 5, status: "COMPLETED" }, /string "id", got none/],
    [{ id, status: 200 }, /string "status", got a number/],
    [[], /got an array/],
    [null, /got null/]
  ])("refuses %j", (body, sentence) => {
    assert.match(Either.getOrThrow(Either.flip(WebhookEvent.fromBody(body))), sentence)
  })
})
