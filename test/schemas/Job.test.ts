import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Job from "effect-runpod/Job"
import * as Either from "effect/Either"
import { pipe } from "effect/Function"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { body as anyBody } from "../support/arbitraries.js"

const id = "5d0c9a14-7be2-4c6e-8a31-1f0e6b2d9c47-u1"
const read = (body: unknown) => Either.getOrThrowWith(Job.fromReply(body, id), (problem) => new Error(problem))

describe("Job.fromReply", () => {
  it("reads every field of a finished job", () => {
    const body = {
      id,
      status: "COMPLETED",
      delayTime: 2140,
      executionTime: 31877,
      workerId: "p4x1n8c6t0ab2k",
      retries: 1,
      output: { image: "https://storage.example/out.png", seed: 7 }
    }
    assert.deepStrictEqual(read(body), {
      id,
      status: "COMPLETED",
      delayTime: 2140,
      executionTime: 31877,
      workerId: "p4x1n8c6t0ab2k",
      retries: 1,
      output: { image: "https://storage.example/out.png", seed: 7 },
      raw: body
    } as never)
  })

  it.each<[string, Record<string, unknown>]>([
    ["queued", { id, status: "IN_QUEUE" }],
    ["accepted by a local server", { status: "IN_PROGRESS" }],
    ["running", { id, status: "IN_PROGRESS", delayTime: 61, workerId: "w1" }],
    ["running with progress", { id, status: "IN_PROGRESS", delayTime: 61, output: "step 3 of 20" }],
    ["running although it has an executionTime", { id, status: "IN_PROGRESS", executionTime: 4200, output: "late" }],
    ["RUNNING", { id, status: "RUNNING" }],
    ["of an unknown status", { id, status: "ARCHIVED" }],
    ["of an empty status", { id, status: "" }]
  ])("a job %s has not ended", (_, body) => {
    assert.isFalse(Job.isTerminal(read(body)))
  })

  it.each<[string, Record<string, unknown>]>([
    ["COMPLETED", { status: "COMPLETED", output: {} }],
    ["FAILED without a word", { status: "FAILED" }],
    ["FAILED with an error and leftovers", { status: "FAILED", error: "bad input", output: { code: 3 } }],
    ["CANCELLED", { status: "CANCELLED" }],
    ["CANCELLED while running", { status: "CANCELLED", delayTime: 1, executionTime: 2, workerId: "w" }],
    ["TIMED_OUT", { status: "TIMED_OUT" }]
  ])("a job %s has ended, and takes its id from the path", (_, body) => {
    const job = read(body)
    assert.isTrue(Job.isTerminal(job))
    assert.strictEqual(job.id, id)
  })

  it("counts a field of a wrong type as missing and keeps it in raw", () => {
    const body = {
      status: "IN_PROGRESS",
      delayTime: "61",
      executionTime: null,
      workerId: "",
      retries: [1],
      error: null
    }
    assert.deepStrictEqual(read(body), { id, status: "IN_PROGRESS", raw: body } as never)
  })

  it("keeps keys it does not know reachable in raw", () => {
    const job = read({ id, status: "COMPLETED", output: 1, gpu: "48", costUsd: 0.002 })
    assert.strictEqual(job.raw["gpu"], "48")
    assert.strictEqual(job.raw["costUsd"], 0.002)
  })

  it("does not mistake a key called __proto__ for a prototype", () => {
    const body: unknown = JSON.parse(
      `{"status":"COMPLETED","webhook":"https://h.example/x","__proto__":{"status":"FAILED"}}`
    )
    const job = read(body)
    assert.strictEqual(job.status, "COMPLETED")
    assert.isTrue(Object.hasOwn(job.raw, "__proto__"))
    assert.strictEqual(Object.getPrototypeOf(job.raw), Object.prototype)
  })

  it.each<[unknown]>([[null], [false], [0], [""], ["text"], [[]], [{}], [12.5]])(
    "keeps the output %j as it came",
    (output) => {
      assert.deepStrictEqual(read({ status: "COMPLETED", output }).output, output)
    }
  )

  it("a COMPLETED job without output has no output key", () => {
    assert.isFalse("output" in read({ status: "COMPLETED" }))
  })

  it.each<[unknown]>([["words"], [{ code: 7 }], [["a"]], [0], [false]])("keeps the error %j as it came", (error) => {
    assert.deepStrictEqual(read({ status: "FAILED", error }).error, error)
  })

  it.each<[unknown, string]>([
    [undefined, "expected a job object, got nothing"],
    [null, "expected a job object, got null"],
    ["<html>", "expected a job object, got a string"],
    [[{ id, status: "COMPLETED" }], "expected a job object, got an array"],
    [502, "expected a job object, got a number"],
    [{}, `expected a job with a string "status", got nothing there`],
    [{ id: "another-e1", status: "COMPLETED" }, `expected the job "${id}", got the job "another-e1"`],
    [{ id, status: null }, `expected a job with a string "status", got null there`],
    [{ status: 404, title: "Not Found" }, `expected a job with a string "status", got a number there`],
    [{ id, status: { value: "COMPLETED" } }, `expected a job with a string "status", got an object there`]
  ])("refuses %j", (body, sentence) => {
    assert.deepStrictEqual(Job.fromReply(body, id), Either.left(sentence))
  })
})

describe("Job.fromReply, piped", () => {
  it("takes the id first", () => {
    assert.deepStrictEqual(pipe({ status: "FAILED" }, Job.fromReply(id)), Job.fromReply({ status: "FAILED" }, id))
    assert.deepStrictEqual(pipe(null, Job.fromReply(id)), Job.fromReply(null, id))
  })
})

describe("Job.fromSyncReply", () => {
  it("takes a result without an id", () => {
    const job = Either.getOrThrow(Job.fromSyncReply({ status: "COMPLETED", output: { label: "cat" } }))
    assert.isFalse(Job.hasId(job))
    assert.isFalse("id" in job)
    assert.deepStrictEqual(job.output, { label: "cat" })
  })

  it("takes a job that the hold left unfinished, when it has an id", () => {
    const job = Either.getOrThrow(Job.fromSyncReply({ id: "sync-5d0c-e1", status: "IN_QUEUE" }))
    assert.isTrue(Job.hasId(job))
    assert.strictEqual(job.id, "sync-5d0c-e1")
  })

  it.each<[unknown, string]>([
    [{ status: "IN_QUEUE" }, `expected an "id" beside the status IN_QUEUE, got nothing there`],
    [{ id: 42, status: "IN_PROGRESS" }, `expected an "id" beside the status IN_PROGRESS, got a number there`],
    [{ id: "", status: "IN_PROGRESS" }, `expected an "id" beside the status IN_PROGRESS, got a string there`],
    [{ status: "ARCHIVED" }, `expected an "id" beside the status ARCHIVED, got nothing there`],
    [{ error: "no workers" }, `expected a job with a string "status", got nothing there`]
  ])("refuses %j, which could not be followed", (body, sentence) => {
    assert.deepStrictEqual(Job.fromSyncReply(body), Either.left(sentence))
  })

  it("an id that cannot stand in a path counts as none", () => {
    for (const bad of ["..", "a\nb", "x".repeat(600)]) {
      assert.isTrue(Either.isLeft(Job.fromSyncReply({ id: bad, status: "IN_QUEUE" })))
      assert.isFalse(Job.hasId(Either.getOrThrow(Job.fromSyncReply({ id: bad, status: "COMPLETED" }))))
    }
  })
})

describe("Job.fromSubmitReply", () => {
  it.each<[Record<string, unknown>, string]>([
    [{ id, status: "IN_QUEUE" }, "IN_QUEUE"],
    [{ id: "test-5d0c", status: "IN_PROGRESS" }, "IN_PROGRESS"],
    // The id of a paid job is never dropped.
    [{ id }, "IN_QUEUE"],
    [{ id, status: null }, "IN_QUEUE"],
    [{ id, status: 200 }, "IN_QUEUE"],
    [{ id, error: null }, "IN_QUEUE"],
    [{ id, status: "FAILED", error: "out of stock" }, "FAILED"]
  ])("%j is a job with the status %s", (body, status) => {
    const job = Either.getOrThrow(Job.fromSubmitReply(body))
    assert.strictEqual(job.id, body["id"])
    assert.strictEqual(job.status, status)
  })

  it.each<[unknown, RegExp]>([
    [{ error: "could not queue the job" }, /string "id", got an object/],
    [{ status: "IN_QUEUE" }, /string "id"/],
    [{ id: 17, status: "IN_QUEUE" }, /string "id"/],
    [{ id: "", status: "IN_QUEUE" }, /string "id"/],
    [{ id, error: "rejected" }, /an "error" beside the id "5d0c.*" and no status/],
    [[], /got an array/],
    [null, /got null/],
    ["queued", /got a string/]
  ])("%j is a refusal", (body, sentence) => {
    assert.match(Either.getOrThrow(Either.flip(Job.fromSubmitReply(body))), sentence)
  })
})

describe("an echo of the request", () => {
  const token = "cap_Zk81hQ5rT0"
  const secretKey = "s3-secret-Yx77"
  const body = {
    id,
    status: "FAILED",
    webhook: `https://app.example/hooks?token=${token}`,
    webhookV2: { url: `https://app.example/v2/${token}` },
    s3Config: { accessId: "AKIA000", accessSecret: secretKey }
  }

  it("is not printed by JSON.stringify or util.inspect", () => {
    const job = read(body)
    for (const text of [
      JSON.stringify(job),
      inspect(job, { depth: 9, showHidden: true }),
      String(job.raw["webhook"])
    ]) {
      assert.notInclude(text, token)
      assert.notInclude(text, secretKey)
    }
    assert.include(JSON.stringify(job), `"webhook":"<redacted>"`)
  })

  it("can still be read by who asks for it", () => {
    const job = read(body)
    assert.strictEqual(Redacted.value(job.raw["webhook"] as Redacted.Redacted), body.webhook)
    assert.deepStrictEqual(Redacted.value(job.raw["s3Config"] as Redacted.Redacted<unknown>), body.s3Config)
  })

  it("does not change the body it was read from", () => {
    read(body)
    assert.isString(body.webhook)
  })

  it("is wrapped once, however often the job is encoded and read again", () => {
    const again = Schema.decodeUnknownSync(Job.Job)(Schema.encodeSync(Job.Job)(Schema.decodeUnknownSync(Job.Job)(body)))
    assert.strictEqual(Redacted.value(again.raw["webhook"] as Redacted.Redacted), body.webhook)
  })

  it("that is null stays null", () => {
    assert.isNull(read({ ...body, webhook: null }).raw["webhook"])
  })
})

describe("Job.Job", () => {
  it("decodes what RunPod sends and names what is wrong", () => {
    const decode = Schema.decodeUnknownEither(Job.Job)
    assert.strictEqual(Either.getOrThrow(decode({ id, status: "FAILED", error: "x" })).error, "x")
    assert.include(String(Either.getOrThrow(Either.flip(decode({ status: "COMPLETED" })))), `a string "id", got none`)
    assert.include(String(Either.getOrThrow(Either.flip(decode({ id, status: 404 })))), `string "status", got a number`)
  })

  it("encodes to the body, unknown keys included", () => {
    const body = { id, status: "COMPLETED", output: [1], gpu: "48" }
    assert.deepStrictEqual(Schema.encodeSync(Job.Job)(read(body)), body)
  })

  it.prop("a job that was encoded reads the same again", { body: anyBody }, ({ body }) => {
    const first = Schema.decodeUnknownOption(Job.Job)(body)
    if (first._tag === "None") return
    const second = Schema.decodeUnknownSync(Job.Job)(Schema.encodeSync(Job.Job)(first.value))
    assert.strictEqual(second.id, first.value.id)
    assert.strictEqual(second.status, first.value.status)
    assert.deepStrictEqual(second.output, first.value.output)
    assert.deepStrictEqual(second.error, first.value.error)
  })
})
