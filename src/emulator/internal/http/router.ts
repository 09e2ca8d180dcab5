import { names, type Operation, operations } from "../../../schemas/Operation.js"

/** What the method and the target of a request ask for. */
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

interface Template {
  readonly operation: Operation
  readonly segments: ReadonlyArray<string>
}

/** The paths of the operations by their first segment. */
const templates = new Map<string, Array<Template>>()
for (const operation of names) {
  const segments = operations[operation].path.split("/")
  const [first = ""] = segments
  templates.set(first, [...(templates.get(first) ?? []), { operation, segments }])
}

const decode = (segment: string | undefined): string | undefined => {
  if (segment?.includes("%") !== true) return segment
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

type Below = Pick<Route, "operation" | "jobId" | "batchId" | "requestId">

const nothing: Below = { operation: undefined, jobId: undefined, batchId: undefined, requestId: undefined }

/** What the segments below an endpoint name: by path and method; by the path alone when no operation has the method. */
const parseBelow = (segments: ReadonlyArray<string>, method: string): Below => {
  const matches = (templates.get(segments[0] ?? "") ?? []).filter(
    (template) =>
      template.segments.length === segments.length &&
      template.segments.every((segment, i) => segment.startsWith("{") || segment === segments[i])
  )
  const match = matches.find(({ operation }) => operations[operation].method === method) ?? matches[0]
  if (match === undefined) return nothing
  const below: Record<string, unknown> & Below = { ...nothing, operation: match.operation }
  for (const [i, name] of match.segments.entries()) {
    if (!name.startsWith("{")) continue
    const id = decode(segments[i])
    if (id === undefined) return nothing
    below[name.slice(1, -1)] = id
  }
  return below
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
  return { path, query, endpointId: decode(endpointId), ...parseBelow(below, method), wait }
}

/** Reads may be sent as POST as well. */
export const allows = (operation: Operation, method: string): boolean =>
  method === operations[operation].method ||
  (method === "POST" && (operation === "status" || operation === "statusSync" || operation === "stream"))
