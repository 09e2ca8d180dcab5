import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { RuntimeFiber } from "../effect/fiber.js"
import * as HttpErrors from "../effect/httpClientError.js"
import { concatBytes } from "../text/bytes.js"

type Body = Stream.Stream<Uint8Array, HttpErrors.BodyError>
type Response = HttpClientResponse.HttpClientResponse

/** A response of any status; those of the web have one from 200 to 599. */
export const responseOf = (
  request: HttpClientRequest.HttpClientRequest,
  status: number,
  { body = null, headers }: { readonly body?: string | null; readonly headers?: Headers | Array<[string, string]> } = {}
): Response => {
  const isOfTheWeb = status >= 200 && status <= 599
  const init = { status: isOfTheWeb ? status : 200, ...(headers === undefined ? {} : { headers }) }
  const response = HttpClientResponse.fromWeb(request, new globalThis.Response(body, init))
  return isOfTheWeb ? response : Object.defineProperty(response, "status", { value: status })
}

/** A response with this body: as bytes, and as a stream. */
const withBody = (
  response: Response,
  whole: Effect.Effect<Uint8Array, HttpErrors.BodyError>,
  stream: Body
): Response => {
  const failure = (cause: unknown) => HttpErrors.bodyError(response, cause)
  const { headers } = response
  const text = Effect.map(whole, (bytes) => new TextDecoder().decode(bytes))
  const parsed = <A>(parse: (text: string) => A) =>
    Effect.flatMap(text, (text) => Effect.try({ try: () => parse(text), catch: failure }))
  const formData = (bytes: Uint8Array) => new globalThis.Response(new Uint8Array(bytes), { headers }).formData()
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

const collect = (body: Body): Effect.Effect<Uint8Array, HttpErrors.BodyError> =>
  Effect.map(Stream.runCollect(HttpErrors.streamOrNothing(body)), (chunks) =>
    concatBytes(Chunk.toReadonlyArray(chunks))
  )

/** A response of which the body comes as this stream: it is read as one once, or whole as often as wanted, and then as a stream as well. */
export const withBufferedBody = (response: Response, arriving: Body): Response => {
  let all: Effect.Effect<Uint8Array, HttpErrors.BodyError> | undefined
  let isStreamed = false
  const refuse = () => HttpErrors.bodyError(response, new TypeError("The body has been read as a stream already"))
  const whole = Effect.suspend(() => {
    if (isStreamed) return refuse()
    return (all ??= Effect.runSync(Effect.cached(collect(arriving))))
  })
  const stream = Stream.suspend(() => {
    if (all !== undefined) return Stream.fromEffect(all)
    if (isStreamed) return Stream.fail(refuse())
    isStreamed = true
    return arriving
  })
  return withBody(response, whole, stream)
}

/** Runs an effect when it is first wanted, on a fiber of the scope, so that who waits for it can be interrupted alone. */
const once = <A, E>(effect: Effect.Effect<A, E>, scope: Scope.Scope): Effect.Effect<A, E> => {
  let running: RuntimeFiber<A, E> | undefined
  const start = Effect.tap(Effect.forkIn(Effect.interruptible(effect), scope), (fiber) => {
    running = fiber
  })
  return Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.suspend(() => (running === undefined ? start : Effect.succeed(running))),
      (fiber) => restore(Effect.flatten(Fiber.await(fiber)))
    )
  )
}

/** A chunk of a body, and what comes after it; `undefined` at its end. */
type Rest = Effect.Effect<readonly [Chunk.Chunk<Uint8Array>, Rest] | undefined, HttpErrors.BodyError>

/**
 * A response of which the body can be read by as many as like, in any way, and each sees it from its beginning: it is kept as far as it
 * has been read. It is open, and in memory, until the scope ends.
 */
export const withRepeatableBody = (response: Response, scope: Scope.Scope): Response => {
  const restOf = (pull: Effect.Effect<Chunk.Chunk<Uint8Array>, Option.Option<HttpErrors.BodyError>>): Rest =>
    once(
      pull.pipe(
        Effect.map((chunk) => [chunk, restOf(pull)] as const),
        Effect.catchAll(Option.match({ onNone: () => Effect.succeed(undefined), onSome: Effect.fail }))
      ),
      scope
    )
  const opened = once(Effect.map(Scope.extend(Stream.toPull(response.stream), scope), restOf), scope)
  const stream = Stream.unfoldChunkEffect(Effect.flatten(opened), (rest: Rest) => Effect.map(rest, Option.fromNullable))
  return withBody(response, collect(stream), stream)
}
