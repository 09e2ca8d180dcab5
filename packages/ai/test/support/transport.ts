/** A transport that gives one answer, in pieces, and notes what it was asked. */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { RunPod } from "effect-runpod"

export interface Answer {
  readonly status?: number
  readonly type?: string
  readonly headers?: Readonly<Record<string, string>>
  /** The body's pieces as they come. */
  readonly pieces: ReadonlyArray<Uint8Array | string>
  /** How long each of them takes. Default: no time. */
  readonly takes?: Duration.DurationInput
  /** What comes behind them. Default: the end. */
  readonly then?: "hang" | "reset"
}

export const key = "rpa_TRANSPORTKEY0123456789"

const bytesOf = (piece: Uint8Array | string) => (typeof piece === "string" ? new TextEncoder().encode(piece) : piece)

export const make = (answers: (path: string, n: number) => Answer | "hang" | "reset" | "refused") => {
  const asked: Array<{ path: string; body: string; headers: Readonly<Record<string, string>> }> = []
  let closed = 0
  const client = HttpClient.make((request, url) =>
    Effect.suspend(() => {
      const { body } = request
      const text = body._tag === "Uint8Array" ? new TextDecoder().decode(body.body) : ""
      asked.push({ path: url.pathname + url.search, body: text, headers: { ...request.headers } })
      const answer = answers(url.pathname, asked.length)
      const broken = (code: string) => Object.assign(new Error(code), { code })
      if (answer === "hang") return Effect.never
      if (answer === "reset" || answer === "refused") {
        const cause = broken(answer === "reset" ? "ECONNRESET" : "ECONNREFUSED")
        return Effect.fail(new HttpClientError.RequestError({ request, reason: "Transport", cause }))
      }
      const { headers, pieces, status = 200, takes = 0, then, type = "application/json" } = answer
      const web = new Response(null, { status, headers: { "content-type": type, ...headers } })
      const response = HttpClientResponse.fromWeb(request, web)
      const cut = new HttpClientError.ResponseError({
        request,
        response,
        reason: "Decode",
        cause: broken("ECONNRESET")
      })
      const end = then === undefined ? Stream.empty : then === "hang" ? Stream.never : Stream.fail(cut)
      const stream = Stream.concat(Stream.map(Stream.fromIterable(pieces), bytesOf), end).pipe(
        Stream.rechunk(1),
        Duration.toMillis(takes) === 0 ? identity : Stream.tap(() => Effect.sleep(takes)),
        Stream.ensuring(Effect.sync(() => closed++))
      )
      return Effect.succeed(Object.create(response, { stream: { value: stream } }) as typeof response)
    })
  )
  return {
    asked,
    /** How many bodies were read to their end, or left. */
    closed: () => closed,
    layer: (options: Partial<RunPod.Options> = {}) =>
      RunPod.layer({ apiKey: key, ...options }).pipe(Layer.provide(Layer.succeed(HttpClient.HttpClient, client)))
  }
}
