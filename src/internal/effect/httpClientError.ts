/** The errors of `HttpClient`: how ours are made, and what they say. */
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Effect from "effect/Effect"

export type HttpError = HttpClientError.HttpClientError
export type RequestError = HttpClientError.RequestError
export type BodyError = HttpClientError.ResponseError

export const requestError = (
  request: HttpClientRequest.HttpClientRequest,
  reason: "Encode" | "InvalidUrl" | "Transport",
  cause: unknown
): RequestError => new HttpClientError.RequestError({ request, reason, cause })

/** The error of an answer whose body did not come, or is not what it was read as. */
export const bodyError = (response: HttpClientResponse.HttpClientResponse, cause: unknown): BodyError =>
  new HttpClientError.ResponseError({ request: response.request, response, reason: "Decode", cause })

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

/** An answer without a body is none that failed. */
export const acceptNoBody: <R>(read: Effect.Effect<void, BodyError, R>) => Effect.Effect<void, BodyError, R> =
  Effect.catchIf(
    (error) => error.reason === "EmptyBody",
    () => Effect.void
  )
