import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import { isJsonObject, parseJson } from "../../../internal/text/json.js"
import type { App } from "../../contract.js"
import type { Answer, Engine } from "./engine.js"
import { badRequest, Broken, type EngineError, internalError } from "./messages.js"

const alwaysThere = new Set(["/health", "/ping"])

const json = (body: object, status = 200) => HttpServerResponse.unsafeJson(body, { status })

const answerOf = (answer: Answer) =>
  answer._tag === "Body"
    ? json(answer.body)
    : HttpServerResponse.stream(answer.pieces, { contentType: "text/event-stream; charset=utf-8" })

const failureOf = (error: EngineError | Broken) => {
  const { body, status } = error instanceof Broken ? internalError(error.message) : error
  return json(body, status)
}

/** vLLM's HTTP server in front of an engine. */
export const makeApp = (engine: Engine): App =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const path = request.url.replace(/\?.*$/s, "")
    if (alwaysThere.has(path)) return HttpServerResponse.empty({ status: 200 })
    const text = request.method === "GET" ? "" : yield* request.text
    const parsed = parseJson(text)
    const body = isJsonObject(parsed) ? parsed : undefined
    if (text !== "" && body === undefined) return failureOf(badRequest("JSON decode error"))
    return yield* Effect.match(engine.answer(path, request.method, body), {
      onFailure: failureOf,
      onSuccess: answerOf
    })
  })
