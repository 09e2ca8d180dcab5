import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as HttpErrors from "../effect/httpClientError.js"
import { concatBytes } from "../text/bytes.js"

/** A response of which the body comes as this stream: it is read as one once, or whole as often as wanted, and then as a stream as well. */
export const withBufferedBody = (
  response: HttpClientResponse.HttpClientResponse,
  arriving: Stream.Stream<Uint8Array, HttpErrors.BodyError>
): HttpClientResponse.HttpClientResponse => {
  const failure = (cause: unknown) => HttpErrors.bodyError(response, cause)
  const { headers } = response
  let all: Effect.Effect<Uint8Array, HttpErrors.BodyError> | undefined
  let isStreamed = false
  const refuse = () => failure(new TypeError("the body has been read as a stream already"))
  const whole = Effect.suspend(() => {
    if (isStreamed) return refuse()
    const read = Stream.runCollect(HttpErrors.streamOrNothing(arriving))
    return (all ??= Effect.runSync(
      Effect.cached(Effect.map(read, (chunks) => concatBytes(Chunk.toReadonlyArray(chunks))))
    ))
  })
  const stream = Stream.suspend(() => {
    if (all !== undefined) return Stream.fromEffect(all)
    if (isStreamed) return Stream.fail(refuse())
    isStreamed = true
    return arriving
  })
  const text = Effect.map(whole, (bytes) => new TextDecoder().decode(bytes))
  const parsed = <A>(parse: (text: string) => A) =>
    Effect.flatMap(text, (text) => Effect.try({ try: () => parse(text), catch: failure }))
  const formData = (bytes: Uint8Array) => new Response(new Uint8Array(bytes), { headers }).formData()
  return Object.defineProperties(Object.create(response) as typeof response, {
    stream: { value: stream },
    arrayBuffer: { value: Effect.map(whole, (bytes) => new Uint8Array(bytes).buffer) },
    text: { value: text },
    json: { value: parsed((text): unknown => (text === "" ? null : JSON.parse(text))) },
    urlParamsBody: { value: parsed((text) => UrlParams.fromInput(new URLSearchParams(text))) },
    formData: {
      value: Effect.flatMap(whole, (bytes) => Effect.tryPromise({ try: () => formData(bytes), catch: failure }))
    }
  })
}
