import { assert, describe, it } from "@effect/vitest"
import * as ErrorBody from "effect-runpod/ErrorBody"
import * as Health from "effect-runpod/Health"
import * as Job from "effect-runpod/Job"
import * as PurgeResult from "effect-runpod/PurgeResult"
import * as RemoteBatch from "effect-runpod/RemoteBatch"
import * as RequestList from "effect-runpod/RequestList"
import * as StreamChunk from "effect-runpod/StreamChunk"
import * as WebhookEvent from "effect-runpod/WebhookEvent"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import { body as anyBody } from "../support/arbitraries.js"

const runs = { fastCheck: { numRuns: 500 } }

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

const schemas: Readonly<Record<string, Schema.Schema<unknown>>> = {
  Job: Job.Job as Schema.Schema<unknown>,
  Health: Health.Health as Schema.Schema<unknown>,
  PurgeResult: PurgeResult.PurgeResult as Schema.Schema<unknown>,
  RequestList: RequestList.RequestList as Schema.Schema<unknown>,
  StreamReply: StreamChunk.StreamReply as Schema.Schema<unknown>,
  WebhookEvent: WebhookEvent.WebhookEvent as Schema.Schema<unknown>,
  RemoteBatch: RemoteBatch.RemoteBatch as Schema.Schema<unknown>,
  BatchPage: RemoteBatch.BatchPage as Schema.Schema<unknown>
}

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

describe.each(Object.entries(schemas))("the schema %s", (_, schema) => {
  it.prop(
    "never throws on any JSON, and what it decodes is of its type and can be encoded and decoded again",
    { body: anyBody },
    ({ body }) => {
      const decoded = Schema.decodeUnknownEither(schema)(body)
      if (Either.isLeft(decoded)) return
      assert.isTrue(Schema.is(schema)(decoded.right))
      const encoded = Either.getOrThrow(Schema.encodeUnknownEither(schema)(decoded.right))
      assert.isTrue(Either.isRight(Schema.decodeUnknownEither(schema)(encoded)))
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

  it.prop("reads any text", { text: FastCheck.string({ unit: "binary" }) }, ({ text }) => {
    const { detail } = ErrorBody.fromText(text)
    if (detail !== undefined) assert.isNotEmpty(detail.trim())
  })
})
