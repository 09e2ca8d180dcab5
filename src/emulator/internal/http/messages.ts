import type * as Effect from "effect/Effect"
import { defined } from "../../../internal/text/json.js"
import type { SubmitPlan } from "../../plans.js"
import type { OpenRequest } from "../counters.js"
import type { Usage } from "./limits.js"
import type { Route } from "./router.js"

export interface HttpRequest {
  readonly method: string
  /** The path with the query, as it stands in the request line. */
  readonly target: string
  readonly authorization: string | undefined
  /** The text of the body; `undefined` when it is longer than `limit` bytes. */
  readonly readBody: (limit: number) => Effect.Effect<string | undefined>
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

export interface HttpResponse {
  readonly status: number
  readonly contentType: string | undefined
  readonly body: string
  readonly retryAfter?: string | undefined
}

/** What an operation answers: an effect only where the request is held or its body is read. */
export type Answer = HttpResponse | Effect.Effect<HttpResponse>

export type Transmission =
  | { readonly _tag: "Whole"; readonly response: HttpResponse }
  | { readonly _tag: "Reset" }
  /** The client is to find that it cannot connect. */
  | { readonly _tag: "Refused" }
  /** So many bytes of the body, then nothing more. */
  | { readonly _tag: "Stall"; readonly response: HttpResponse; readonly bytes: number }
  /** So many bytes of the body, then the connection closes. */
  | { readonly _tag: "Cut"; readonly response: HttpResponse; readonly bytes: number }

export const headersOf = ({ contentType, retryAfter }: HttpResponse, length: number): Record<string, string> =>
  defined({ "content-length": String(length), "content-type": contentType, "retry-after": retryAfter })
