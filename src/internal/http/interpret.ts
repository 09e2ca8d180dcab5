import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import {
  BadRequestError,
  type Context,
  DecodeError,
  type fromResponse,
  type RunPodError,
  ServerError
} from "../../errors/RunPodError.js"
import type { Request } from "../../layers/RunPodHttpClient.js"
import * as ErrorBody from "../../schemas/ErrorBody.js"
import { maxTimerMillis } from "../pace/monotonic.js"
import { excerpt } from "../text/excerpt.js"
import { isJsonObject } from "../text/json.js"
import type { Scrub } from "../text/scrub.js"
import { largestAnswer, type Reply } from "./reply.js"

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

/** How the answers of an API are read. */
export interface Reading {
  readonly parseJson: (text: string) => unknown
  /** The error that an answer with a status of no success stands for. */
  readonly errorOf: typeof fromResponse
}

/** Whether the body says that nothing was done: `{"error": …}` without a status, which is RunPod's form of a refusal in a 2xx. */
const isRefusal = (json: unknown): boolean =>
  isJsonObject(json) && json["error"] !== undefined && json["error"] !== null && typeof json["status"] !== "string"

/** The value or the tagged error that an answer stands for. */
export const interpret = <A>(
  request: Request<A>,
  {
    retryAfter,
    ...answer
  }: { readonly reply: Reply; readonly where: Context; readonly retryAfter: Duration.Duration | undefined },
  scrub: Scrub,
  { errorOf, parseJson }: Reading
): Either.Either<A, RunPodError> => {
  const { reply, where } = answer
  const { status } = reply
  if (status < 200 || status >= 300) {
    return Either.left(errorOf(where, { status, text: scrub(reply.text), retryAfter }))
  }
  const body = () => excerpt(scrub(reply.text))
  if (!reply.isWhole) {
    const detail = `the answer is larger than ${largestAnswer} bytes`
    return Either.left(new ServerError({ ...where, status, detail }))
  }
  let json: unknown
  let read: Either.Either<A, string>
  try {
    json = status === 204 && request.mayBeEmpty === true ? undefined : parseJson(reply.text)
    read = request.read(json)
  } catch {
    const detail = reply.text.trim() === "" ? "the answer is empty" : undefined
    return Either.left(new ServerError({ ...where, status, detail, body: body() }))
  }
  if (Either.isRight(read)) return Either.right(read.right)
  const jobId = where.jobId ?? request.idOf?.(json)
  const at = { ...where, status, body: body(), jobId: jobId === undefined ? undefined : scrub(jobId) }
  if (isRefusal(json) && jobId === where.jobId) {
    const { detail } = ErrorBody.fromText(scrub(reply.text))
    return Either.left(new BadRequestError({ ...at, detail: detail === undefined ? undefined : excerpt(detail, 512) }))
  }
  return Either.left(new DecodeError({ ...at, issue: scrub(read.left) }))
}
