import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import { defined } from "../../../internal/text/json.js"
import type { SubmitPlan } from "../../plans.js"
import type { OpenRequest } from "../counters.js"
import type { Usage } from "./limits.js"
import type { Route } from "./router.js"

export interface HttpRequest {
  readonly method: string
  /** The path with the query, as it stands in the request line. */
  readonly target: string
  /** The host that it was sent to, with the port. */
  readonly host: string | undefined
  /** By names in lower case. */
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly authorization: string | undefined
  /** The text of the body; `undefined` when it is longer than `limit` bytes. */
  readonly readBody: (limit: number) => Effect.Effect<string | undefined>
  /** The same as bytes. */
  readonly readBytes: (limit: number) => Effect.Effect<Uint8Array | undefined>
}

export interface Call {
  request: HttpRequest
  readonly route: Route
  readonly arrivedAt: number
  readonly record: OpenRequest
  /** What becomes of this submit, where that is planned. */
  plan: SubmitPlan | undefined
  /** What it is in flight of, once it got past the limits. */
  usage: Usage | undefined
}

/** A body that comes bit by bit. Where the stream fails, the connection closes in the middle of it. */
export interface StreamedBody {
  readonly stream: Stream.Stream<Uint8Array, unknown>
  /** Gives back what the answer still holds, for whoever does not run the stream; more than once does no harm. */
  readonly close: Effect.Effect<void>
}

export interface HttpResponse {
  readonly status: number
  readonly contentType: string | undefined
  readonly body: string | Uint8Array | StreamedBody
  readonly retryAfter?: string | undefined
  /** Other headers, of an app's answer. */
  readonly headers?: Readonly<Record<string, string | Array<string>>> | undefined
}

/** An answer whose body is there. */
export interface WholeResponse extends HttpResponse {
  readonly body: string | Uint8Array
}

/** What an operation answers: an effect only where the request is held or its body is read. */
export type Answer = HttpResponse | Effect.Effect<HttpResponse>

export type Transmission =
  | { readonly _tag: "Whole"; readonly response: HttpResponse }
  | { readonly _tag: "Reset" }
  /** The client is to find that it cannot connect. */
  | { readonly _tag: "Refused" }
  /** So many bytes of the body, then nothing more. */
  | { readonly _tag: "Stall"; readonly response: WholeResponse; readonly bytes: number }
  /** So many bytes of the body, then the connection closes. */
  | { readonly _tag: "Cut"; readonly response: WholeResponse; readonly bytes: number }

export const isStreamed = (body: HttpResponse["body"]): body is StreamedBody =>
  typeof body !== "string" && "stream" in body

/** Without a `length`, the body is sent in chunks. */
export const headersOf = (
  { contentType, headers, retryAfter }: Omit<HttpResponse, "body">,
  length: number | undefined
): Record<string, string | Array<string>> => {
  const own = defined({
    "content-length": length === undefined ? undefined : String(length),
    "content-type": contentType,
    "retry-after": retryAfter
  })
  return headers === undefined ? own : { ...headers, ...own }
}
