import { isOfBatch, names, type Operation, operations } from "../../../schemas/Operation.js"

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

const byPath = new Map<string, Operation>(
  names.flatMap((name) => (isOfBatch(name) ? [] : [[operations[name].path, name] as const]))
)

/** The operations of the batch API, whose paths have ids in the middle. */
const templates = names.filter(isOfBatch).map((name) => ({ name, segments: operations[name].path.split("/") }))

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

/** What the segments `{operation}` or `{operation}/{jobId}` below an endpoint name. */
const parseJobPath = ([name, segment, ...rest]: ReadonlyArray<string>): Below => {
  const operation = name === undefined ? undefined : byPath.get(name)
  const jobId = decode(segment)
  const isComplete = operation !== undefined && rest.length === 0 && operations[operation].job === (jobId !== undefined)
  return isComplete ? { ...nothing, operation, jobId } : nothing
}

/** Likewise for those of the batch API, such as `batch/b1/requests`: by path and method; by the path alone when none has the method. */
const parseBatchPath = (segments: ReadonlyArray<string>, method: string): Below => {
  const matches = templates.filter(
    (template) =>
      template.segments.length === segments.length &&
      template.segments.every((segment, i) => segment.startsWith("{") || segment === segments[i])
  )
  const match = matches.find(({ name }) => operations[name].method === method) ?? matches[0]
  if (match === undefined) return nothing
  const [, batch, , request] = segments
  const [batchId, requestId] = [decode(batch), decode(request)]
  const isDecoded =
    (batch === undefined) === (batchId === undefined) && (request === undefined) === (requestId === undefined)
  return isDecoded ? { ...nothing, operation: match.name, batchId, requestId } : nothing
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
  const parsed = below[0] === "batch" ? parseBatchPath(below, method) : parseJobPath(below)
  return { path, query, endpointId: decode(endpointId), ...parsed, wait }
}

/** Reads may be sent as POST as well. */
export const allows = (operation: Operation, method: string): boolean =>
  method === operations[operation].method ||
  (method === "POST" && (operation === "status" || operation === "statusSync" || operation === "stream"))
