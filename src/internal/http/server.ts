import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import { AuthenticationError, BadRequestError, type Context, type RunPodError } from "../../errors/RunPodError.js"
import type * as Dispatcher from "../../layers/Dispatcher.js"
import type { Request } from "../../layers/RunPodHttpClient.js"

const userAgent = "effect-runpod/0.1.0"

/** Where requests go, and what all of them carry. */
export interface Server {
  readonly apiKey: string
  /** Why nothing can be sent at all. */
  readonly problem: ((where: Context) => RunPodError) | undefined
  readonly requestOf: (request: Request<unknown>, path: string) => HttpClientRequest.HttpClientRequest
  readonly dispatchOf: (request: Request<unknown>, path: string) => Dispatcher.Request
}

const readBaseUrl = (baseUrl: string | URL): Either.Either<URL, string> => {
  const text = String(baseUrl).trim()
  if (!URL.canParse(text)) return Either.left("the base URL is not a URL")
  const url = new URL(text)
  if (url.protocol !== "https:" && url.protocol !== "http:") return Either.left("the base URL must be http or https")
  if (url.username !== "" || url.password !== "") return Either.left("the base URL must not hold a user or password")
  if (url.search !== "" || url.hash !== "") return Either.left("the base URL must end with its path")
  return Either.right(url)
}

/** The key without white space. From an environment variable that is not set, it can be `undefined` whatever the types say. */
const readApiKey = (apiKey: string | Redacted.Redacted): string => {
  const key: unknown = Redacted.isRedacted(apiKey) ? Redacted.value(apiKey) : apiKey
  return typeof key === "string" ? key.trim() : ""
}

const problemOf = (baseUrl: Either.Either<URL, string>, apiKey: string): Server["problem"] => {
  if (Either.isLeft(baseUrl)) return (where) => new BadRequestError({ ...where, detail: baseUrl.left })
  if (apiKey === "") return (where) => new AuthenticationError({ ...where, detail: "the API key is empty" })
  if (/^[\x21-\x7e]+$/.test(apiKey)) return undefined
  return (where) => new AuthenticationError({ ...where, detail: "the API key holds characters that no key has" })
}

/** Reads the options that say where requests go. */
export const make = (options: {
  readonly baseUrl: string | URL
  readonly apiKey: string | Redacted.Redacted
}): Server => {
  const apiKey = readApiKey(options.apiKey)
  const baseUrl = readBaseUrl(options.baseUrl)
  const origin = Either.match(baseUrl, { onLeft: () => "", onRight: (url) => url.origin })
  const prefix = Either.match(baseUrl, { onLeft: () => "", onRight: (url) => url.pathname.replace(/\/+$/, "") })
  const headers = {
    accept: "application/json",
    // Without it a server may compress as it likes, and not every transport can undo that.
    "accept-encoding": "identity",
    authorization: `Bearer ${apiKey}`,
    "user-agent": userAgent
  }
  const listed = Object.entries(headers).flat()
  const listedWithBody = [...listed, "content-type", "application/json"]
  const target = ({ hold, query }: Request<unknown>, path: string): string => {
    const search = hold === undefined ? query : `wait=${hold}`
    return search === undefined ? prefix + path : `${prefix}${path}?${search}`
  }
  return {
    apiKey,
    problem: problemOf(baseUrl, apiKey),
    requestOf: (request, path) =>
      HttpClientRequest.make(request.operation.method)(origin + target(request, path), {
        headers,
        body: request.body === undefined ? HttpBody.empty : HttpBody.uint8Array(request.body, "application/json")
      }),
    dispatchOf: (request, path) => ({
      method: request.operation.method,
      origin,
      path: target(request, path),
      headers: request.body === undefined ? listed : listedWithBody,
      body: request.body ?? null,
      isHeld: request.hold !== undefined || request.operation.hold !== undefined
    })
  }
}
