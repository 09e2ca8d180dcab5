import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Redacted from "effect/Redacted"
import { AuthenticationError, BadRequestError, type Context, type RunPodError } from "../../errors/RunPodError.js"
import type * as Dispatcher from "../../layers/Dispatcher.js"
import type { OpenRequest, Request } from "../../layers/RunPodHttpClient.js"
import { keyMissing } from "../text/apiKey.js"
import { canBeSecret } from "../text/scrub.js"
import type { Sent } from "./execution.js"

const urlProblem = (url: URL | undefined): string | undefined => {
  if (url === undefined) return "the base URL is not a URL"
  if (url.protocol !== "https:" && url.protocol !== "http:") return "the base URL must be http or https"
  if (url.username !== "" || url.password !== "") return "the base URL must not hold a user or password"
  return url.search !== "" || url.hash !== "" ? "the base URL must end with its path" : undefined
}

/** The key without white space. From an environment variable that is not set, it can be `undefined` whatever the types say. */
const readApiKey = (apiKey: string | Redacted.Redacted): string => {
  const key: unknown = Redacted.isRedacted(apiKey) ? Redacted.value(apiKey) : apiKey
  return typeof key === "string" ? key.trim() : ""
}

const keyProblem = (apiKey: string): string | undefined => {
  if (apiKey === "") return `the API key is empty: perhaps ${keyMissing}`
  return /^[\x21-\x7e]+$/.test(apiKey) ? undefined : "the API key holds characters that no key has"
}

/** Where requests go, for spans. */
export interface Address {
  readonly host: string
  readonly port: number
  /** The URL that paths are put behind. */
  readonly base: string
}

/** Where requests go, and what all of them carry. */
export const make = (givenKey: string | Redacted.Redacted, baseUrl: string | URL) => {
  const apiKey = readApiKey(givenKey)
  const text = String(baseUrl).trim()
  const url = URL.canParse(text) ? new URL(text) : undefined
  const wrongUrl = urlProblem(url)
  const wrongKey = keyProblem(apiKey)
  const origin = url?.origin ?? ""
  const prefix = url?.pathname.replace(/\/+$/, "") ?? ""
  const headers = {
    accept: "application/json",
    // Without it a server may compress as it likes, and not every transport can undo that.
    "accept-encoding": "identity",
    authorization: `Bearer ${apiKey}`,
    "user-agent": "effect-runpod/0.1.0"
  }
  const listed = Object.entries(headers).flat()
  const listedWithBody = [...listed, "content-type", "application/json"]
  const target = ({ hold, query }: Request<unknown>, path: string): string => {
    const search = hold === undefined ? query : `wait=${hold}`
    return search === undefined ? prefix + path : `${prefix}${path}?${search}`
  }
  // Ids stand in errors, logs and spans as they are.
  const holdsKey = (id: string | undefined): boolean => id !== undefined && canBeSecret(apiKey) && id.includes(apiKey)
  const address: Address = {
    host: url?.hostname ?? "",
    port: Number(url?.port) || (url?.protocol === "http:" ? 80 : 443),
    base: origin + prefix
  }
  return {
    apiKey,
    address,
    /** Whether an id is one that nobody may see. */
    holdsKey,
    /** Why a request cannot be sent. */
    problemAt: (where: Context, { operation, params }: Sent): RunPodError | undefined => {
      if (holdsKey(params["jobId"]) || holdsKey(params["batchId"])) {
        const { method, name, path } = operation
        return new BadRequestError({ operation: name, method, path, detail: "the id holds the API key" })
      }
      if (wrongUrl !== undefined) return new BadRequestError({ ...where, detail: wrongUrl })
      return wrongKey === undefined ? undefined : new AuthenticationError({ ...where, detail: wrongKey })
    },
    requestOf: (request: Request<unknown>, path: string) =>
      HttpClientRequest.make(request.operation.method)(origin + target(request, path), {
        headers,
        body: request.body === undefined ? HttpBody.empty : HttpBody.uint8Array(request.body, "application/json")
      }),
    openRequestOf: ({ body, headers: given, operation, url }: OpenRequest) =>
      HttpClientRequest.make(operation.method)(url, {
        headers: { ...given, ...headers, accept: given?.["accept"] ?? "*/*" },
        body: body ?? HttpBody.empty
      }),
    dispatchOf: (request: Request<unknown>, path: string): Dispatcher.Request => ({
      method: request.operation.method,
      origin,
      path: target(request, path),
      headers: request.body === undefined ? listed : listedWithBody,
      body: request.body ?? null,
      isHeld: request.hold !== undefined || request.operation.hold !== undefined
    })
  }
}
