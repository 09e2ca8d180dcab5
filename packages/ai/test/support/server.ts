/** Clients of a server of the OpenAI API that answers by a script. */
import { HttpClient, HttpClientError, type HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { Effect, Stream } from "effect"

export interface Call {
  readonly url: string
  readonly body: Readonly<Record<string, unknown>>
}

export interface Answer {
  readonly status?: number
  readonly body: string | Stream.Stream<Uint8Array, unknown>
  /** How long until there are headers. Default: 0. */
  readonly after?: `${number} seconds`
}

const textOf = (request: HttpClientRequest.HttpClientRequest): string =>
  request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : ""

/** A client that remembers its calls, and answers each as `answer` says; `undefined` is a connection that is reset. */
export const scripted = (answer: (call: Call) => Answer | undefined) => {
  const calls: Array<Call> = []
  const client = HttpClient.make((request) =>
    Effect.gen(function* () {
      const call = { url: request.url, body: JSON.parse(textOf(request)) as Call["body"] }
      calls.push(call)
      const found = answer(call)
      if (found === undefined) {
        const cause = Object.assign(new Error("Bearer rpa_secret_0123456789"), { code: "ECONNRESET" })
        return yield* Effect.fail(new HttpClientError.RequestError({ request, reason: "Transport", cause }))
      }
      if (found.after !== undefined) yield* Effect.sleep(found.after)
      const body = typeof found.body === "string" ? found.body : Stream.toReadableStream(found.body)
      return HttpClientResponse.fromWeb(request, new Response(body, { status: found.status ?? 200 }))
    })
  )
  return { calls, client }
}

/** The bytes of a text, in pieces of so many. */
export const bytesOf = (text: string, length: number): Stream.Stream<Uint8Array> => {
  const bytes = new TextEncoder().encode(text)
  const pieces = Array.from({ length: Math.ceil(bytes.length / length) }, (_, n) =>
    bytes.subarray(n * length, (n + 1) * length)
  )
  return Stream.rechunk(Stream.fromIterable(pieces), 1)
}
