import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import {
  BadRequestError,
  DecodeError,
  type fromResponse,
  type RunPodError,
  ServerError
} from "../../errors/RunPodError.js"
import type { OpenRequest, OpenResponse, Request } from "../../layers/RunPodHttpClient.js"
import * as ErrorBody from "../../schemas/ErrorBody.js"
import { maxTimerMillis, wallMillis, withClock } from "../pace/monotonic.js"
import { excerpt } from "../text/excerpt.js"
import { isJsonObject, textIn } from "../text/json.js"
import type { Execution } from "./execution.js"
import type { Opened } from "./openWithClient.js"
import { largestAnswer, type Reply } from "./reply.js"
import { safeCause } from "./transportCause.js"

/** In milliseconds. */
const shortCooldown = 1_000

// `Date.parse` finds a date in nearly everything, such as "-5"; only what looks like an HTTP date is one.
const httpDate = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .*\d\d:\d\d:\d\d/

/** What a `Retry-After` header asks for, at `now` in milliseconds of the clock. */
export const readRetryAfter = (header: string | undefined, now: number): Duration.Duration | undefined => {
  const text = header?.trim() ?? ""
  const isSeconds = /^\d+(\.\d+)?$/.test(text)
  if (!isSeconds && !httpDate.test(text)) return undefined
  const millis = isSeconds ? Number(text) * 1000 : Date.parse(text) - now
  return Number.isNaN(millis) ? undefined : Duration.millis(Math.min(Math.max(0, millis), maxTimerMillis))
}

interface Reading {
  readonly parseJson: (text: string) => unknown
  readonly holdsKey: (id: string) => boolean
  readonly errorOf: typeof fromResponse
  readonly onSuccess: () => void
}

/** Whether the body says that nothing was done: `{"error": …}` without a status, which is RunPod's form of a refusal in a 2xx. */
const isRefusal = (json: unknown): boolean =>
  isJsonObject(json) && json["error"] !== undefined && json["error"] !== null && typeof json["status"] !== "string"

/** The error of a 2xx answer that is JSON, but not what was asked for. */
const unexpected = (
  { request, scrub, where }: Execution<Request<unknown>>,
  json: unknown,
  { text, status }: Reply,
  issue: string
): RunPodError => {
  const jobId = where.jobId ?? request.idOf?.(json)
  const body = excerpt(scrub(text))
  const at = { ...where, status, body, jobId: jobId === undefined ? undefined : scrub(jobId) }
  if (!isRefusal(json) || jobId !== where.jobId) return new DecodeError({ ...at, issue: scrub(issue) })
  const { detail } = ErrorBody.fromText(scrub(text))
  return new BadRequestError({ ...at, detail: detail === undefined ? undefined : excerpt(detail, 512) })
}

/** The error of a 2xx answer that cannot be read: a body that is cut or no JSON, or one that `parseJson` refuses. */
const unreadable = (
  { request, scrub, where }: Execution<Request<unknown>>,
  { status, text }: Reply,
  thrown: unknown
): RunPodError => {
  const at = { ...where, status, body: excerpt(scrub(text)) }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return new ServerError({ ...at, detail: text.trim() === "" ? "the answer is empty" : undefined })
  }
  const named = request.idOf?.(json)
  const jobId = where.jobId ?? named
  // Another job's status says nothing of the one that was asked for.
  const jobStatus = isJsonObject(json) && (named ?? jobId) === jobId ? textIn(json, "status") : undefined
  const { name, message } = safeCause(thrown, scrub)
  return new DecodeError({
    ...at,
    jobId: jobId === undefined ? undefined : scrub(jobId),
    isUnread: true,
    jobStatus: jobStatus === undefined ? undefined : excerpt(scrub(jobStatus), 64),
    issue: excerpt(`${name}: ${message}`, 512)
  })
}

const read = <A>(
  execution: Execution<Request<A>>,
  reply: Reply,
  retryAfter: Duration.Duration | undefined,
  { errorOf, holdsKey, onSuccess, parseJson }: Reading
): Effect.Effect<A, RunPodError> => {
  const { request, scrub, span, where } = execution
  const { status, text } = reply
  if (status < 200 || status >= 300) return Effect.fail(errorOf(where, { status, text: scrub(text), retryAfter }))
  if (!reply.isWhole) {
    const detail = `the answer is larger than ${largestAnswer} bytes`
    return Effect.fail(new ServerError({ ...where, status, detail }))
  }
  let json: unknown
  let value: Either.Either<A, string>
  try {
    json = status === 204 && request.mayBeEmpty === true ? undefined : parseJson(text)
    value = request.read(json)
  } catch (thrown) {
    return Effect.fail(unreadable(execution, reply, thrown))
  }
  if (Either.isLeft(value)) return Effect.fail(unexpected(execution, json, reply, value.left))
  const jobId = where.jobId === undefined ? request.idOf?.(value.right) : undefined
  if (jobId !== undefined) {
    if (holdsKey(jobId)) {
      const issue = "the job's id holds the API key"
      return Effect.fail(new DecodeError({ ...where, status, body: excerpt(scrub(text)), issue }))
    }
    span.attribute("runpod.job_id", scrub(jobId))
  }
  onSuccess()
  return Effect.succeed(value.right)
}

/** Tells the limiter of an answer, so that a 429 closes its gate, and then makes of it what `read` makes of it. */
const afterLimiter = <A>(
  execution: Execution,
  reply: Pick<Reply, "status" | "retryAfter">,
  read: (retryAfter: Duration.Duration | undefined) => Effect.Effect<A, RunPodError>
): Effect.Effect<A, RunPodError> => {
  const { limiter, permit } = execution
  if (reply.status !== 429) limiter.answered()
  if (reply.status !== 429 && reply.retryAfter === undefined) {
    const value = read(undefined)
    return limiter.isReopening ? Effect.zipRight(limiter.accepted(permit), value) : value
  }
  // While a grace lasts, there must be time to find that RunPod takes requests again.
  const longestCooldown = execution.options.grace === undefined ? undefined : shortCooldown
  return withClock((clock) => {
    const retryAfter = readRetryAfter(reply.retryAfter, wallMillis(clock))
    if (reply.status === 429) execution.onThrottled(retryAfter && Duration.toMillis(retryAfter))
    const told =
      reply.status === 429 ? limiter.throttled(permit, retryAfter, longestCooldown) : limiter.accepted(permit)
    return Effect.zipRight(told, read(retryAfter))
  })
}

export const meaningOf = <A>(
  execution: Execution<Request<A>>,
  reply: Reply,
  reading: Reading
): Effect.Effect<A, RunPodError> =>
  afterLimiter(execution, reply, (retryAfter) => read(execution, reply, retryAfter, reading))

/** The same of an answer that is passed on as it comes: only one that is an error of its request is read. */
export const meaningOfOpened = (
  execution: Execution<OpenRequest>,
  { beginning, body, cookies, headers, status }: Opened,
  { onSuccess }: Pick<Reading, "onSuccess">
): Effect.Effect<OpenResponse, RunPodError> => {
  const { request, scrub, where } = execution
  const text = beginning === undefined ? undefined : scrub(new TextDecoder().decode(beginning))
  const errorAfter = (retryAfter: Duration.Duration | undefined) =>
    text === undefined ? undefined : request.errorOf(where, { status, text, retryAfter })
  // A 429 that is passed on is not RunPod's.
  const isPassedOn = errorAfter(undefined) === undefined
  return afterLimiter(
    execution,
    isPassedOn ? { status: 200, retryAfter: undefined } : { status, retryAfter: headers["retry-after"] },
    (retryAfter) => {
      const error = isPassedOn ? undefined : errorAfter(retryAfter)
      if (error === undefined) {
        onSuccess()
        // Made here, since the fiber that takes the body off the connection must not point to its reader.
        return Effect.succeed({ status, headers, cookies, stream: body.stream })
      }
      body.abort()
      return Effect.fail(error)
    }
  )
}
