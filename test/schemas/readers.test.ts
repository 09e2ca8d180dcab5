import { assert, describe, it } from "@effect/vitest"
import * as ErrorBody from "effect-runpod/ErrorBody"
import * as Health from "effect-runpod/Health"
import * as Job from "effect-runpod/Job"
import * as PurgeResult from "effect-runpod/PurgeResult"
import * as RemoteBatch from "effect-runpod/RemoteBatch"
import * as RequestList from "effect-runpod/RequestList"
import * as StreamChunk from "effect-runpod/StreamChunk"
import * as WebhookEvent from "effect-runpod/WebhookEvent"
import * as Arbitrary from "effect/Arbitrary"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import { anyText, body as anyBody } from "../support/arbitraries.js"

/** A schema among schemas of other types. */
const untyped = <A>(schema: Schema.Schema<A, unknown>) => schema as unknown as Schema.Schema<unknown, unknown>

const runs = { fastCheck: { numRuns: 60 } }

const readers: Readonly<Record<string, (body: unknown) => Either.Either<unknown, string>>> = {
  "Job.fromReply": (body) => Job.fromReply(body, "job-1"),
  "Job.fromSyncReply": Job.fromSyncReply,
  "Job.fromSubmitReply": Job.fromSubmitReply,
  "Health.fromReply": Health.fromReply,
  "PurgeResult.fromReply": PurgeResult.fromReply,
  "RequestList.fromReply": RequestList.fromReply,
  "StreamChunk.fromReply": StreamChunk.fromReply,
  "WebhookEvent.fromBody": WebhookEvent.fromBody,
  "RemoteBatch.fromReply": (body) => RemoteBatch.fromReply(body, "batch-1"),
  "RemoteBatch.fromCreateReply": RemoteBatch.fromCreateReply,
  "RemoteBatch.listFromReply": RemoteBatch.listFromReply,
  "RemoteBatch.pageFromReply": RemoteBatch.pageFromReply
}

/** Each schema, and the reader that it stands for. */
const pairs: ReadonlyArray<
  [string, Schema.Schema<unknown, unknown>, (body: unknown) => Either.Either<unknown, string>]
> = [
  ["Job", untyped(Job.Job), Job.fromNamedReply],
  ["SyncJob", untyped(Job.SyncJob), Job.fromSyncReply],
  ["Health", untyped(Health.Health), Health.fromReply],
  ["PurgeResult", untyped(PurgeResult.PurgeResult), PurgeResult.fromReply],
  ["RequestList", untyped(RequestList.RequestList), RequestList.fromReply],
  ["StreamReply", untyped(StreamChunk.StreamReply), StreamChunk.fromReply],
  ["WebhookEvent", untyped(WebhookEvent.WebhookEvent), WebhookEvent.fromBody],
  ["RemoteBatch", untyped(RemoteBatch.RemoteBatch), RemoteBatch.fromCreateReply],
  ["BatchPage", untyped(RemoteBatch.BatchPage), RemoteBatch.pageFromReply]
]

/** Bodies that a `Schema.Struct` would refuse, copy or change. */
const oddBodies: ReadonlyArray<unknown> = [
  null,
  [],
  {},
  "COMPLETED",
  [null, 1, "a", [], {}, { output: null }, { output: 1, metrics: null }],
  { id: "j-1", status: "IN_PROGRESS", delayTime: "61", executionTime: null, workerId: " ", retries: [1], error: null },
  { id: "j-1", status: "COMPLETED", output: null, jobs: {}, removed: "3", stream: null, requests: null, batches: null },
  { id: "j-1", status: "", webhook: "https://h.example/x?token=1", webhookV2: { a: 1 }, s3Config: { accessId: "a" } },
  { id: "j-1", status: null, requestTotal: 2, createdAt: "2026-07-09T09:15:00Z" },
  { id: "j-1", status: "DRAFT", createdAt: "yesterday", endpointId: "", name: 3 },
  { id: "j-1", error: "no" },
  { id: "..", status: "COMPLETED", output: 0 },
  { id: 7, status: "IN_QUEUE" },
  { jobs: null, workers: [] },
  { jobs: { inQueue: "2", completed: 1, other: {} }, workers: { idle: null } },
  { removed: 0 },
  { requests: [null, {}, { id: "j-1", status: "FAILED" }, { id: 1, status: "FAILED" }], total: "3", hasMore: "no" },
  { requests: {}, stream: {}, status: 1 },
  { requests: [], total: 5, offset: 4 },
  JSON.parse(`{"id":"j-1","status":"COMPLETED","__proto__":{"status":"FAILED"},"output":{"__proto__":1}}`),
  JSON.parse(`{"jobs":{"__proto__":{"inQueue":1}},"workers":{"idle":1},"__proto__":[]}`),
  { id: "j-1", status: "FAILED", error: { webhook: "https://h.example/x" }, input: null, raw: {} }
]

describe.each(Object.entries(readers))("%s", (_, read) => {
  it.prop(
    "reads any JSON or says in one sentence what it expected and got",
    { body: anyBody },
    ({ body }) => {
      const result = read(body)
      if (Either.isLeft(result)) assert.match(result.left, /^expected .*, got .+/)
    },
    runs
  )

  it.each([undefined, Symbol("x"), () => 1, 10n, Number.NaN, new Map([["status", "COMPLETED"]])])(
    "does not throw on a value that is no JSON: %s",
    (body) => {
      assert.doesNotThrow(() => read(body))
    }
  )
})

describe.each(pairs)("the schema %s and its reader", (_, schema, read) => {
  const decode = Schema.decodeUnknownEither(schema)
  const agree = (body: unknown) => {
    const expected = read(body)
    const decoded = decode(body)
    if (Either.isLeft(expected)) {
      assert.include(Either.getOrThrow(Either.flip(decoded)).message, expected.left)
    } else {
      const value = Either.getOrThrow(decoded)
      assert.deepStrictEqual(value, expected.right)
      assert.isTrue(Schema.is(schema)(value))
      assert.isTrue(Schema.equivalence(schema)(value, expected.right))
    }
  }

  it.prop("agree on any JSON", { body: anyBody }, ({ body }) => agree(body), runs)

  it.prop(
    "agree on what RunPod sends",
    { body: Arbitrary.make(Schema.encodedSchema(schema)) },
    ({ body }) => agree(body),
    runs
  )

  it.each(oddBodies.map((body) => [body]))("agree on the odd body %j", (body) => agree(body))

  it.prop(
    "give back a value from the body it encodes to",
    { value: Arbitrary.make(schema) },
    ({ value }) => {
      const body = Schema.encodeSync(schema)(value)
      assert.deepStrictEqual(Either.getOrThrow(read(body)), value)
      assert.deepStrictEqual(Schema.decodeUnknownSync(schema)(body), value)
    },
    runs
  )

  it.prop(
    "read again what the schema encodes, whatever it was decoded from",
    { body: anyBody },
    ({ body }) => {
      const decoded = decode(body)
      if (Either.isLeft(decoded)) return
      assert.isTrue(Either.isRight(read(Schema.encodeSync(schema)(decoded.right))))
    },
    runs
  )
})

const rights = <A>(result: Either.Either<A, string>): ReadonlyArray<A> => (Either.isRight(result) ? [result.right] : [])

describe("jobs", () => {
  it.prop(
    "are never read without a string status, nor with an id that is no string",
    { body: anyBody },
    ({ body }) => {
      const jobs = [
        ...rights(Job.fromReply(body, "job-1")),
        ...rights(Job.fromSyncReply(body)),
        ...rights(Job.fromSubmitReply(body)),
        ...rights(WebhookEvent.fromBody(body)).map((event) => event.job),
        ...rights(RequestList.fromReply(body)).flatMap((list) => list.requests)
      ]
      for (const job of jobs) {
        assert.isString(job.status)
        if ("id" in job) assert.isString(job.id)
        // A wrong type counts as missing, in every field that has a type.
        for (const key of ["delayTime", "executionTime", "retries"] as const) {
          if (key in job) assert.isNumber(job[key])
        }
        if ("workerId" in job) assert.isString(job.workerId)
      }
    },
    runs
  )

  it.prop(
    "are read without a status only from a submit's answer",
    { id: FastCheck.uuid(), rest: FastCheck.dictionary(FastCheck.constantFrom("output", "delayTime"), anyBody) },
    ({ id, rest }) => {
      assert.isTrue(Either.isLeft(Job.fromReply({ ...rest, id }, id)))
      assert.isTrue(Either.isLeft(Job.fromSyncReply({ ...rest, id })))
      assert.strictEqual(Either.getOrThrow(Job.fromSubmitReply({ ...rest, id })).status, "IN_QUEUE")
    }
  )
})

describe("ErrorBody.fromText", () => {
  it.prop("reads any JSON", { body: anyBody }, ({ body }) => void ErrorBody.fromText(JSON.stringify(body)), runs)

  it.prop("reads any text", { text: anyText() }, ({ text }) => {
    const { detail } = ErrorBody.fromText(text)
    if (detail !== undefined) assert.isNotEmpty(detail.trim())
  })
})
