/** Clients in this process, and the errors of `HttpClient`: how ours are made, and what they say. */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

export type HttpError = HttpClientError.HttpClientError
export type RequestError = HttpClientError.RequestError
export type BodyError = HttpClientError.ResponseError

export const requestError = (
  request: HttpClientRequest.HttpClientRequest,
  reason: "Encode" | "InvalidUrl" | "Transport",
  cause: unknown,
  description?: string
): RequestError =>
  new HttpClientError.RequestError({ request, reason, cause, ...(description === undefined ? {} : { description }) })

/** The error of an answer whose body did not come, or is not what it was read as. */
export const bodyError = (
  response: HttpClientResponse.HttpClientResponse,
  cause: unknown,
  description?: string
): BodyError => responseError(response, "Decode", cause, description)

/** The error of an answer whose status is none of success. */
export const statusError = (
  response: HttpClientResponse.HttpClientResponse,
  cause: unknown,
  description: string
): BodyError => responseError(response, "StatusCode", cause, description)

const responseError = (
  response: HttpClientResponse.HttpClientResponse,
  reason: BodyError["reason"],
  cause: unknown,
  description: string | undefined
): BodyError =>
  new HttpClientError.ResponseError({
    request: response.request,
    response,
    reason,
    cause,
    ...(description === undefined ? {} : { description })
  })

/** `HttpClient.make` for what answers in the fiber that asks: without spans, and without an `AbortController` (40 µs of CPU). */
export const inProcess = (
  answer: (
    request: HttpClientRequest.HttpClientRequest,
    url: URL
  ) => Effect.Effect<HttpClientResponse.HttpClientResponse, HttpError>
): HttpClient.HttpClient =>
  HttpClient.makeWith<never, never, HttpError, never>(
    Effect.flatMap((request) =>
      Either.match(UrlParams.makeUrl(request.url, request.urlParams, request.hash), {
        onLeft: (cause) => Effect.fail(requestError(request, "InvalidUrl", cause)),
        onRight: (url) => answer(request, url)
      })
    ),
    Effect.succeed
  )

export const stageOf = (error: HttpError): "Build" | "Send" | "Response" => {
  if (error._tag === "ResponseError") return "Response"
  return error.reason === "Transport" ? "Send" : "Build"
}

export const causeOf = (error: HttpError): unknown => error.cause

/** The answer, also where the client has made an error of its status already. */
export const acceptAnyStatus: <R>(
  sent: Effect.Effect<HttpClientResponse.HttpClientResponse, HttpError, R>
) => Effect.Effect<HttpClientResponse.HttpClientResponse, HttpError, R> = Effect.catchAll((error) =>
  error._tag === "ResponseError" && error.reason === "StatusCode" ? Effect.succeed(error.response) : Effect.fail(error)
)

const isEmptyBody = (error: HttpError): boolean => error._tag === "ResponseError" && error.reason === "EmptyBody"

/** An answer without a body is none that failed. */
export const acceptNoBody: <R>(read: Effect.Effect<void, BodyError, R>) => Effect.Effect<void, BodyError, R> =
  Effect.catchIf(isEmptyBody, () => Effect.void)

/** The body of an answer, which may have none. */
export const streamOrNothing: (body: Stream.Stream<Uint8Array, BodyError>) => Stream.Stream<Uint8Array, BodyError> =
  Stream.catchSome((error) => (isEmptyBody(error) ? Option.some(Stream.empty) : Option.none()))
