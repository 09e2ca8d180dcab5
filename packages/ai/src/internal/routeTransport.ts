import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { isRunPodError, type RunPodError } from "effect-runpod/RunPodError"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { ConnectionError, isModelError, type ModelError, WorkerError } from "../ModelError.js"
import { isJsonObject, type JsonObject } from "./json.js"
import { readScrubbed, type Scrub } from "./scrub.js"
import { endAt } from "./streamEnd.js"
import type { Path, Transport } from "./transport.js"
import { isSuccess, readJson, refusalOf } from "./workerError.js"

type RouteError = RunPodError | ModelError

/** The code of a system's error, such as ECONNRESET. Its message may quote headers, so it is left out. */
const codeOf = (cause: unknown): string | undefined => {
  const code = isJsonObject(cause) ? cause["code"] : undefined
  return typeof code === "string" && /^[\w-]{1,64}$/.test(code) ? code : undefined
}

const isOurs = (error: unknown): error is RouteError => isRunPodError(error) || isModelError(error)

/** An error of the client, without the request, whose headers hold a key. */
const errorOf = (error: HttpClientError.HttpClientError | RouteError): RouteError => {
  if (isOurs(error)) return error
  if (isOurs(error.cause)) return error.cause
  if (error._tag === "ResponseError" && error.reason === "StatusCode") {
    const { status } = error.response
    return new WorkerError({ detail: "the client refused its status", status })
  }
  const code = codeOf(error.cause)
  return new ConnectionError({ detail: code === undefined ? error.reason : `${error.reason} (${code})` })
}

const textOf = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<string, RouteError> =>
  Effect.mapError(response.text, errorOf)

/** Each call is a request to a server of the OpenAI API. Interrupting it ends the request. */
export const make = (
  client: HttpClient.HttpClient.With<HttpClientError.HttpClientError | RouteError>,
  scrub: Scrub
): Transport => {
  const send = (path: Path, body: JsonObject): Effect.Effect<HttpClientResponse.HttpClientResponse, RouteError> =>
    client.execute(HttpClientRequest.bodyUnsafeJson(HttpClientRequest.post(path), body)).pipe(
      Effect.mapError(errorOf),
      Effect.flatMap((response) =>
        isSuccess(response.status)
          ? Effect.succeed(response)
          : Effect.flatMap(textOf(response), (text) => Effect.fail(refusalOf(scrub(text), response.status)))
      )
    )
  return {
    request: (path, body) =>
      send(path, body).pipe(
        Effect.flatMap(textOf),
        Effect.flatMap((text) => readScrubbed(text, scrub, readJson))
      ),
    pieces: (path, body, isWhole) =>
      Stream.unwrap(
        Effect.map(send(path, body), ({ stream }) =>
          Stream.decodeText(endAt(Stream.mapError(stream, errorOf), isWhole))
        )
      )
  }
}
