import * as Record from "effect/Record"
import { names, type Operation, operations } from "../../../schemas/Operation.js"
import type { EmulatedOperation } from "../../contract.js"

/** Where a request was sent. */
export interface Address {
  readonly host: string | undefined
  /** The path with the query. */
  readonly target: string
}

export interface Route {
  /** Without the query. */
  readonly path: string
  readonly query: string
  readonly endpointId: string | undefined
  readonly operation: EmulatedOperation | undefined
  /** What lies below the OpenAI route or a load balancer's endpoint, as the worker sees it, with a slash before it. */
  readonly below: string
  readonly jobId: string | undefined
  readonly batchId: string | undefined
  readonly requestId: string | undefined
  /** The hold that the query asks for, as it stands there. */
  readonly wait: string | undefined
}

/** The operations with their paths below an endpoint; the ids in a path are groups. */
const routes = names.map((operation) => {
  const { method, path } = operations[operation]
  return { operation, method, pattern: new RegExp(`^${path.replace(/\{(\w+)\}/g, "(?<$1>[^/]*)")}$`) }
})

const decode = (segment: string | undefined): string | undefined => {
  if (segment?.includes("%") !== true) return segment
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

/** What a path below an endpoint names: by path and method; by the path alone when no operation has the method. */
const parseBelow = (path: string, method: string) => {
  const match =
    routes.find((route) => route.method === method && route.pattern.test(path)) ??
    routes.find(({ pattern }) => pattern.test(path))
  const ids = Record.map(match?.pattern.exec(path)?.groups ?? {}, decode)
  const operation = Object.values(ids).includes(undefined) ? undefined : match?.operation
  const { batchId, jobId, requestId } = operation === undefined ? {} : ids
  return { operation, jobId, batchId, requestId }
}

/** Reads `/{endpointId}/…`, with or without `/v2` before it. */
export const parse = (target: string, method: string): Route => {
  const mark = target.indexOf("?")
  const path = mark < 0 ? target : target.slice(0, mark)
  const query = mark < 0 ? "" : target.slice(mark + 1)
  const segments = path.split("/")
  segments.splice(0, segments[1] === "v2" ? 2 : 1)
  if (segments.at(-1) === "") segments.pop()
  const [endpointId, ...below] = segments
  if (below[0] === "openai") return openAiRoute(path, query, endpointId)
  const wait = query === "" ? undefined : (new URLSearchParams(query).get("wait") ?? undefined)
  return { path, query, endpointId: decode(endpointId), ...parseBelow(below.join("/"), method), below: "", wait }
}

const other = { jobId: undefined, batchId: undefined, requestId: undefined, wait: undefined }

const openAiRoute = (path: string, query: string, endpointId: string | undefined): Route => {
  const below = path.slice(path.indexOf("/openai", path.indexOf(`/${endpointId}`) + 1) + "/openai".length)
  return {
    path,
    query,
    endpointId: decode(endpointId),
    operation: "openai",
    below: below === "" ? "/" : below,
    ...other
  }
}

/** Hosts of load-balancing endpoints, whose first label is the id; a host's letters have no case. */
const ofLoadBalancer = /^([^.]+)\.api\.runpod\.ai(?::\d+)?$/i

/** Reads a request to `{id}.api.runpod.ai`, or below `/lb/{id}`; `find` finds a load balancer's id in whatever case it is written. */
export const parseLoadBalancer = (
  { host = "", target }: Address,
  find: (id: string) => string | undefined
): Route | undefined => {
  const [path = "", query = ""] = target.split(/\?(.*)/s)
  const route = (endpointId: string, below: string): Route => {
    const rooted = below.startsWith("/") ? below : `/${below}`
    return { path, query, endpointId, operation: "loadBalancer", below: rooted, ...other }
  }
  const named = ofLoadBalancer.exec(host)?.[1]
  if (named !== undefined) return route(find(named) ?? named, target)
  const [, id = "", below = ""] = /^\/lb\/([^/?]+)(.*)$/s.exec(target) ?? []
  const found = find(decode(id) ?? "")
  return found === undefined ? undefined : route(found, below)
}

/** Reads may be sent as POST as well. */
export const allows = (operation: Operation, method: string): boolean =>
  method === operations[operation].method ||
  (method === "POST" && (operation === "status" || operation === "statusSync" || operation === "stream"))
