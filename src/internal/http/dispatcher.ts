import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"

export type WireBody = string | Uint8Array | AsyncIterable<Uint8Array> | null

/** A request as it goes out. */
export interface WireRequest {
  readonly method: string
  readonly origin: string
  /** With its query. */
  readonly path: string
  /** Names and values by turns. */
  readonly headers: ReadonlyArray<string>
  readonly body: WireBody
  /** Whether the server may hold the answer back for long. */
  readonly isHeld: boolean
}

/** Is told what becomes of a request, in this order, ending with `onEnd` or `onError`. */
export interface WireListener {
  /** The request has got a connection: from now on it may have been sent. */
  readonly onConnected: () => void
  readonly onHead: (
    status: number,
    headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  ) => void
  readonly onData: (bytes: Uint8Array) => void
  readonly onEnd: () => void
  readonly onError: (cause: unknown) => void
}

/** A request on its way. */
export interface WireCall {
  /** Closes the connection; the listener hears no more that matters. */
  readonly abort: () => void
  readonly pause: () => void
  readonly resume: () => void
}

/** A transport without effects: what a fast `HttpClient` has underneath. */
export interface Wire {
  readonly send: (request: WireRequest, listener: WireListener) => WireCall
}

/** Under this an `HttpClient` shows its wire. */
export const WireKey: unique symbol = Symbol.for("effect-runpod/Wire")

export interface WiredClient extends HttpClient.HttpClient {
  readonly [WireKey]: Wire
}

/** The wire of a client that has one. Whoever transforms such a client gets another, without. */
export const wireOf = (client: HttpClient.HttpClient): Wire | undefined =>
  hasProperty(client, WireKey) ? (client as WiredClient)[WireKey] : undefined

/** Under this a response of such a client gives its body without a `Stream`. */
export const BodyKey: unique symbol = Symbol.for("effect-runpod/Body")

export interface Body {
  /** What has come since the last time; `undefined` at the end. */
  readonly pull: Effect.Effect<ReadonlyArray<Uint8Array> | undefined, HttpClientError.ResponseError>
  /** Lets go of a body that is not read to its end. */
  readonly close: Effect.Effect<void>
}

export interface WiredResponse {
  readonly [BodyKey]: Body
}

export const isWired = (response: object): response is WiredResponse => hasProperty(response, BodyKey)
