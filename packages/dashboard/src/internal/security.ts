import * as Headers from "@effect/platform/Headers"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"

/** Whether two texts are the same, in a time that tells nothing of where they differ. */
export const isSame = (a: string, b: string): boolean => {
  const [left, right] = [new TextEncoder().encode(a), new TextEncoder().encode(b)]
  let difference = left.length ^ right.length
  for (let i = 0; i < right.length; i++) difference |= (left[i] ?? 0) ^ (right[i] ?? 0)
  return difference === 0 && right.length > 0
}

/** What every answer says: only this page's own files are loaded, no other page frames or reads it, and nothing is kept. */
const headers = {
  "content-security-policy":
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "cache-control": "no-store"
}

const loopback = ["127.0.0.1", "localhost", "[::1]"]

/** The name in a `Host` header, without its port. */
const nameOf = (host: string): string => host.replace(/:\d+$/, "").toLowerCase()

/**
 * Refuses requests under another name, as those of a page whose domain has come to mean this address, and requests that a browser sends for
 * another site.
 */
export const guard =
  (allowedHosts: ReadonlyArray<string>) =>
  <E, R>(app: HttpApp.Default<E, R>): HttpApp.Default<E, R> => {
    const allowed = new Set([...loopback, ...allowedHosts.map((host) => host.toLowerCase())])
    return Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const header = (name: string) => request.headers[name]
      const host = header("host")
      const isOurs = host !== undefined && allowed.has(nameOf(host))
      const site = header("sec-fetch-site")
      const isForeign = site !== undefined && site !== "same-origin" && site !== "none" && request.url !== "/"
      if (!isOurs || isForeign) {
        return HttpServerResponse.text("This host is not allowed here.\n", {
          status: 421,
          headers: Headers.fromInput(headers)
        })
      }
      // A middleware is around an answer that was sent already.
      return yield* HttpApp.withPreResponseHandler(app, (_, response) =>
        Effect.succeed(HttpServerResponse.setHeaders(response, headers))
      )
    })
  }
