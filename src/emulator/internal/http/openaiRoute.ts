import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { utf8 } from "../../../internal/text/bytes.js"
import { defined, isJsonObject } from "../../../internal/text/json.js"
import * as Lifecycle from "../jobs/lifecycle.js"
import { type Endpoint, type Job, largestBody, type Model } from "../jobs/model.js"
import { awaitChunk, awaitEnd } from "./jobOperations.js"
import type { Call, HttpResponse, StreamedBody } from "./messages.js"
import * as RequestParser from "./requestParser.js"
import * as Responses from "./responses.js"

/** The gateway gives up when the first byte has not come after so many milliseconds; the job goes on. */
const firstByteWithin = 100_000

/**
 * Any request below `/{endpointId}/openai` is a job whose worker gets the path and the body. The answer is what its handler gave:
 * held until its end, or with `stream: true` in the body until the first chunk. A client that leaves does not cancel the job.
 */
export const answer = Effect.fnUntraced(function* (model: Model, endpoint: Endpoint, call: Call) {
  const text = yield* call.request.readBody(largestBody.openai.bytes)
  if (text === undefined) return Responses.tooLarge("openai")
  const body = text === "" ? undefined : yield* Either.mapLeft(RequestParser.parseJson(text), Responses.refused)
  if (endpoint.maxWorkers <= 0) return Responses.paused
  const jobRequest = yield* Either.mapLeft(
    RequestParser.readJobRequest({ input: { openai_route: call.route.below, ...defined({ openai_input: body }) } }),
    Responses.refused
  )
  const job = Lifecycle.submit(model, endpoint, "openai", jobRequest)
  call.record.jobId = job.id
  const millis = call.arrivedAt + firstByteWithin - model.timer.now()
  if (!isJsonObject(body) || body["stream"] !== true) {
    yield* awaitEnd(model, job, millis)
    return whole(job)
  }
  yield* awaitChunk(model, job, millis)
  return job.chunks.length > 0 ? streamed(model, job) : whole(job)
}, Effect.merge)

/** What the job came to, as one body. */
const whole = (job: Job): HttpResponse => {
  if (!job.hasEnded && job.isKept) return Responses.gatewayTimeout
  if (job.status !== "COMPLETED") return Responses.jobFailed(job)
  if (job.yielded > 0 && !isAggregated(job)) return Responses.outputOf(arrayOf(job.chunks))
  return Responses.outputOf(job.yielded === 1 ? onlyElement(job.output) : job.output)
}

/** Whether the chunks are in the output. A process decides it by itself. */
const isAggregated = ({ endpoint: { settings }, output }: Job): boolean =>
  settings.external === undefined ? settings.aggregateStream : output !== undefined

const arrayOf = (chunks: ReadonlyArray<string>) => (chunks.length === 1 ? chunks[0] : `[${chunks.join(",")}]`)

/** The output of a handler that yields is the array of its chunks, of which the route gives the only one as it is. */
const onlyElement = (output: string | undefined) => {
  const value: unknown = output === undefined ? undefined : JSON.parse(output)
  return Array.isArray(value) && value.length === 1 ? output?.slice(1, -1) : output
}

/** A chunk as the route passes it on: a text as it is, anything else as JSON. */
const bytesOf = (chunk: string): Uint8Array => {
  const value: unknown = chunk.startsWith('"') ? JSON.parse(chunk) : undefined
  return utf8(typeof value === "string" ? value : chunk)
}

const take = (job: Job): Chunk.Chunk<Uint8Array> => {
  const taken = job.chunks
  job.chunks = []
  return Chunk.fromIterable(taken.map(bytesOf))
}

/**
 * The chunks as they come. When the job ends otherwise than COMPLETED, there are no more of them; nor when it runs again, which would
 * begin the text anew.
 */
const streamed = (model: Model, job: Job): HttpResponse => {
  const { requeued } = job
  const isVain = () => job.requeued !== requeued
  const next = Effect.map(awaitChunk(model, job, Infinity, isVain), () =>
    job.chunks.length > 0 && !isVain() ? Option.some([take(job), undefined] as const) : Option.none()
  )
  const body: StreamedBody = { stream: Stream.unfoldChunkEffect(undefined, () => next), close: Effect.void }
  return { status: 200, contentType: "text/event-stream", body }
}
