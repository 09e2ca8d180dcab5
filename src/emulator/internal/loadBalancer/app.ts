import * as Cookies from "@effect/platform/Cookies"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { App } from "../../contract.js"
import type { HttpRequest, HttpResponse } from "../http/messages.js"

export interface AppRequest {
  readonly request: HttpRequest
  /** Path and query as the app sees them. */
  readonly below: string
  readonly body: Uint8Array
  /** What the app acquires belongs to it. */
  readonly scope: Scope.Scope
}

const methodsWithoutBody = new Set(["GET", "HEAD"])

const headersOf = ({ headers }: HttpRequest): Headers => {
  const all = new Headers()
  for (const [name, value = []] of Object.entries(headers)) {
    for (const each of typeof value === "string" ? [value] : value) all.append(name, each)
  }
  return all
}

/** An app that is a web handler gets the `Request` itself, so all must be in there. */
const serverRequest = ({ below, body, request }: AppRequest, signal: AbortSignal) => {
  const { host = "localhost", method } = request
  const hasBody = body.byteLength > 0 && !methodsWithoutBody.has(method)
  const web = new Request(`http://${host}${below}`, {
    method,
    headers: headersOf(request),
    body: hasBody ? body.slice() : null,
    signal
  })
  return HttpServerRequest.fromWeb(web).modify({ url: below })
}

/** Runs an app for one request. A failure is an answer, as a server of `@effect/platform` makes it. */
export const run = (appOf: () => App, of: AppRequest): Effect.Effect<HttpResponse> => {
  const abort = new AbortController()
  const answered = Effect.suspend(() => {
    const request = serverRequest(of, abort.signal)
    return Effect.flatMap(appOf(), (response) =>
      Effect.flatMap(FiberRef.get(HttpApp.currentPreResponseHandlers), (handler) =>
        Option.isSome(handler) ? handler.value(request, response) : Effect.succeed(response)
      )
    ).pipe(Effect.provideService(HttpServerRequest.HttpServerRequest, request))
  })
  return answered.pipe(
    Effect.onInterrupt(() => Effect.sync(() => abort.abort())),
    Effect.catchAllCause((cause) => Effect.map(HttpServerError.causeResponse(cause), ([response]) => response)),
    Scope.extend(of.scope),
    Effect.map((response) => toResponse(response, of.request.method === "HEAD"))
  )
}

const toResponse = (response: HttpServerResponse.HttpServerResponse, isHead: boolean): HttpResponse => {
  const { status } = response
  const { "content-length": _, "content-type": contentType, ...rest } = response.headers
  const headers: Record<string, string | Array<string>> = { ...rest }
  if (!Cookies.isEmpty(response.cookies)) headers["set-cookie"] = Cookies.toSetCookieHeaders(response.cookies)
  return { status, contentType, headers, body: isHead ? "" : bodyOf(response) }
}

const bodyOf = (response: HttpServerResponse.HttpServerResponse): HttpResponse["body"] => {
  const { body } = response
  switch (body._tag) {
    case "Empty":
      return ""
    case "Uint8Array":
      return body.body
    case "Stream":
      return { stream: body.stream, close: Effect.void }
    case "Raw":
    case "FormData": {
      const web = HttpServerResponse.toWeb(response).body
      if (web === null) return ""
      return {
        stream: Stream.fromReadableStream({ evaluate: () => web, onError: (cause) => cause }),
        close: Effect.void
      }
    }
  }
}
