/** An `HttpClient` as a `fetch`, for clients that have no errors but statuses and decide by them what to send again. */
import * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type { HttpMethod } from "@effect/platform/HttpMethod"
import { isRunPodError, provesNoEffect, type RunPodError } from "effect-runpod/RunPodError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import type { ModelError } from "../ModelError.js"

type Failure = RunPodError | ModelError

/** Other clients send a request again after 408, 409, 429 and 5xx. This says of one that a model was asked, or may have been. */
const inDoubt = 424

/** What the worker says that its model's server answered. */
const statusIn = (detail: string): number | undefined => {
  const [, status] = /\bHTTP (4\d\d)\b/.exec(detail) ?? []
  return status === undefined ? undefined : Number(status)
}

/** Whether clients ask again after it: a model that has failed was asked, and paid, once already. */
const isRepeated = (status: number): boolean => status === 408 || status === 409 || status === 429 || status >= 500

const statusOf = (error: Failure): number => {
  if (error._tag === "WorkerError") {
    const status = error.status ?? statusIn(error.detail) ?? inDoubt
    return isRepeated(status) ? inDoubt : status
  }
  if (!isRunPodError(error) || !provesNoEffect(error)) return inDoubt
  if (error.status !== undefined) return error.status
  switch (error._tag) {
    case "AuthenticationError":
      return 401
    case "PayloadTooLargeError":
      return 413
    case "BadRequestError":
      return 400
    default:
      return 503
  }
}

/** An error in OpenAI's form. */
const errorAnswer = (
  status: number,
  error: { readonly message: string; readonly type: string; readonly code: string | null },
  retryAfter?: Duration.Duration
): Response => {
  const headers = new Headers({ "content-type": "application/json", "x-should-retry": "false" })
  if (retryAfter !== undefined) headers.set("retry-after", String(Math.ceil(Duration.toSeconds(retryAfter))))
  return new Response(JSON.stringify({ error: { ...error, param: null } }), { status, headers })
}

const responseOf = (error: Failure): Response => {
  const [type, code] =
    error._tag === "WorkerError" ? [error.type ?? error._tag, error.code ?? null] : [error._tag, error._tag]
  const retryAfter = error._tag === "RateLimitedError" ? error.retryAfter : undefined
  return errorAnswer(statusOf(error), { message: error.message, type, code }, retryAfter)
}

/** OpenAI's client counts here how often it has sent a request before. It asks nobody whether it may, after a timeout of its own. */
const isSecond = ({ headers, method }: Request): boolean =>
  method !== "GET" && method !== "HEAD" && Number(headers.get("x-stainless-retry-count") ?? 0) > 0

const notTwice = (): Response =>
  errorAnswer(inDoubt, {
    message:
      "The request was given up by its client, which sent it again: it may still run, and be paid, so it was not asked a second time. Raise the client's timeout, and set its maxRetries to 0.",
    type: "SubmitAmbiguousError",
    code: "SubmitAmbiguousError"
  })

const isMethod = (method: string): method is HttpMethod =>
  ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].includes(method)

const requestOf = async (request: Request): Promise<HttpClientRequest.HttpClientRequest> => {
  const method = request.method.toUpperCase()
  if (!isMethod(method)) throw new TypeError(`no endpoint takes the method ${method}`)
  const type = request.headers.get("content-type") ?? undefined
  const body =
    request.body === null ? undefined : HttpBody.uint8Array(new Uint8Array(await request.arrayBuffer()), type)
  return HttpClientRequest.make(method)(request.url, {
    headers: [...request.headers],
    ...(body === undefined ? {} : { body })
  })
}

/**
 * An error drops what a body has queued. So nothing is queued: a body takes one piece, when its reader asks for one, and the error behind
 * it comes when it is read.
 */
const unread = { strategy: new CountQueuingStrategy({ highWaterMark: 0 }) }

/** Its errors are answers, but for what the caller aborts, which rejects with the signal's reason, and for what breaks a body. */
export const make = (
  client: HttpClient.HttpClient.With<Failure>,
  runtime: Runtime.Runtime<never>
): typeof globalThis.fetch => {
  const run = Runtime.runPromiseExit(runtime)
  return async (input, init) => {
    // A client may name a path alone.
    const request = new Request(
      typeof input === "string" && input.startsWith("/") ? `http://endpoint${input}` : input,
      init
    )
    const { signal } = request
    signal.throwIfAborted()
    if (isSecond(request)) return notTwice()
    const sent = Effect.map(client.execute(await requestOf(request)), ({ headers, status, stream }) => {
      const hasBody = status !== 204 && status !== 205 && status !== 304 && request.method !== "HEAD"
      const body = hasBody
        ? Stream.toReadableStreamRuntime(Stream.rechunk(untilAborted(stream, signal), 1), runtime, unread)
        : null
      return new Response(body, { status, headers })
    })
    const exit = await run(
      Effect.catchAll(sent, (error) => Effect.sync(() => responseOf(error))),
      { signal }
    )
    if (Exit.isSuccess(exit)) return exit.value
    signal.throwIfAborted()
    // What broke is the caller's, such as the stream that its body is.
    throw Cause.squash(exit.cause)
  }
}

/** A body that fails with the signal's reason as soon as that aborts, which closes its connection. */
const untilAborted = <E>(
  stream: Stream.Stream<Uint8Array, E>,
  signal: AbortSignal
): Stream.Stream<Uint8Array, unknown> =>
  Stream.interruptWhen(
    Stream.mapError(stream, (error: unknown) => causeOf(error)),
    Effect.async<never, unknown>((resume) => {
      const abort = () => resume(Effect.fail(signal.reason))
      if (signal.aborted) return abort()
      signal.addEventListener("abort", abort, { once: true })
      return Effect.sync(() => signal.removeEventListener("abort", abort))
    })
  )

/** The error behind a `ResponseError`, which says the same and belongs to no request. */
const causeOf = (error: unknown): unknown =>
  typeof error === "object" && error !== null && "cause" in error && error.cause instanceof Error ? error.cause : error
