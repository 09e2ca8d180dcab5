import * as Record from "effect/Record"
import { names, type Operation, operations } from "../../../schemas/Operation.js"

export interface Route {
  /** Without the query. */
  readonly path: string
  readonly query: string
  readonly endpointId: string | undefined
  readonly operation: Operation | undefined
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
  const wait = query === "" ? undefined : (new URLSearchParams(query).get("wait") ?? undefined)
  return { path, query, endpointId: decode(endpointId), ...parseBelow(below.join("/"), method), wait }
}

/** Reads may be sent as POST as well. */
export const allows = (operation: Operation, method: string): boolean =>
  method === operations[operation].method ||
  (method === "POST" && (operation === "status" || operation === "statusSync" || operation === "stream"))
