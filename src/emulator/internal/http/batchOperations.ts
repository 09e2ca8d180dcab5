import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { isJsonObject } from "../../../internal/text/json.js"
import type { BatchOperation } from "../../../schemas/Operation.js"
import type { Batch, Batches, BatchRequest } from "../jobs/batches.js"
import { type Endpoint, type JobRequest, largestBody } from "../jobs/model.js"
import type { HttpRequest, HttpResponse } from "./messages.js"
import * as RequestParser from "./requestParser.js"
import * as Responses from "./responses.js"

/** A request for an operation of the batch API, its endpoint found. */
export interface BatchCall {
  readonly operation: BatchOperation
  readonly endpoint: Endpoint
  readonly request: HttpRequest
  readonly batchId: string | undefined
  readonly requestId: string | undefined
  readonly query: string
}

/** Answers with the JSON of the request's body. */
const withJson = (request: HttpRequest, respond: (body: unknown) => HttpResponse): Effect.Effect<HttpResponse> =>
  Effect.map(request.readBody(largestBody.run.bytes), (text) => {
    if (text === undefined) return Responses.tooLarge("run")
    return Either.match(RequestParser.parseJson(text), { onLeft: Responses.badRequest, onRight: respond })
  })

const readRequests = (list: unknown): Either.Either<ReadonlyArray<JobRequest>, HttpResponse> => {
  if (!Array.isArray(list)) return Either.left(Responses.badRequest("bad request: requests: must be an array"))
  const requests: Array<JobRequest> = []
  for (const [index, entry] of list.entries()) {
    const request = RequestParser.readJobRequest(entry)
    if (Either.isLeft(request)) {
      const problem = request.left.replace("bad request: ", `bad request: requests[${index}]: `)
      return Either.left(Responses.badRequest(problem))
    }
    requests.push(request.right)
  }
  return Either.right(requests)
}

const readWhole = (text: string | null, initial: number, min: number): number | undefined => {
  if (text === null) return initial
  return /^\d{1,9}$/.test(text) && Number(text) >= min ? Number(text) : undefined
}

const refused = (problem: string): HttpResponse => Responses.badRequest(`bad request: ${problem}`)

/** What an operation that changes a batch answers, unless it was refused. */
const changed = (batches: Batches, batch: Batch, problem: string | undefined): HttpResponse =>
  problem === undefined
    ? Responses.ok(JSON.stringify({ id: batch.id, status: batches.statusOf(batch) }))
    : refused(problem)

const summary = (batches: Batches, batch: Batch) => {
  const { requestIds, ...fields } = batches.snapshot(batch)
  return { ...fields, requestTotal: requestIds.length }
}

/** An entry of the list of requests; `output` and `error` are JSON already. */
const entry = (batches: Batches, batch: Batch, request: BatchRequest): string => {
  const { id, job } = request
  const { toClockTime } = batches.model
  const iso = (millis: number | undefined) =>
    millis === undefined ? undefined : JSON.stringify(new Date(toClockTime(millis)).toISOString())
  const status = batches.requestStatus(batch, request)
  const isLost = status === "FAILED" && job?.status !== "FAILED"
  const fields = Object.entries({
    id: JSON.stringify(id),
    status: JSON.stringify(status),
    output: status === "COMPLETED" ? job?.output : undefined,
    error: isLost ? JSON.stringify("the request expired") : job?.error,
    startedAt: iso(job?.startedAt),
    completedAt: iso(job?.finishedAt)
  })
  return `{${fields.flatMap(([key, text]) => (text === undefined ? [] : [`"${key}":${text}`])).join(",")}}`
}

const page = (batches: Batches, batch: Batch, query: string): HttpResponse => {
  const parameters = new URLSearchParams(query)
  const offset = readWhole(parameters.get("offset"), 0, 0)
  const limit = readWhole(parameters.get("limit"), 50, 1)
  if (offset === undefined) return refused("offset: must be a whole number")
  if (limit === undefined) return refused("limit: must be a whole number above 0")
  const all = batches.requests(batch)
  const entries = all.slice(offset, offset + limit).map((request) => entry(batches, batch, request))
  const hasMore = offset + limit < all.length
  return Responses.ok(
    `{"requests":[${entries.join(",")}],"total":${all.length},"offset":${offset},"limit":${limit},"hasMore":${hasMore}}`
  )
}

const create = (batches: Batches, endpoint: Endpoint, body: unknown): HttpResponse => {
  const requests = readRequests(body)
  if (Either.isLeft(requests)) return requests.left
  const batch = batches.create(endpoint, requests.right)
  return typeof batch === "string" ? refused(batch) : changed(batches, batch, undefined)
}

const append = (batches: Batches, batch: Batch, body: unknown): HttpResponse => {
  const requests = readRequests(isJsonObject(body) ? body["requests"] : undefined)
  if (Either.isLeft(requests)) return requests.left
  return changed(batches, batch, batches.append(batch, requests.right))
}

const update = (batches: Batches, batch: Batch, body: unknown): HttpResponse => {
  const name = isJsonObject(body) ? body["name"] : undefined
  if (typeof name !== "string") return refused("name: must be a string")
  batch.name = name
  return Responses.ok(JSON.stringify(summary(batches, batch)))
}

const remove = (batches: Batches, batch: Batch, requestId: string): HttpResponse => {
  const request = batch.requests.get(requestId)
  if (request === undefined) return Responses.requestNotFound
  const problem = batches.remove(batch, request)
  return problem === undefined ? Responses.noContent : refused(problem)
}

export const execute = (batches: Batches, call: BatchCall): HttpResponse | Effect.Effect<HttpResponse> => {
  const { endpoint, operation, request } = call
  if (operation === "createBatch") return withJson(request, (body) => create(batches, endpoint, body))
  if (operation === "listBatches") {
    // The newest first.
    const list = batches.list(endpoint).toReversed()
    return Responses.ok(JSON.stringify({ batches: list.map((batch) => summary(batches, batch)) }))
  }
  const batch = batches.find(endpoint, call.batchId ?? "")
  if (batch === undefined) return Responses.batchNotFound
  switch (operation) {
    case "batchStatus":
      return Responses.ok(JSON.stringify(summary(batches, batch)))
    case "updateBatch":
      return withJson(request, (body) => update(batches, batch, body))
    case "appendBatch":
      return withJson(request, (body) => append(batches, batch, body))
    case "batchResults":
      return page(batches, batch, call.query)
    case "finalizeBatch":
      return changed(batches, batch, batches.finalize(batch))
    case "cancelBatch":
      return changed(batches, batch, batches.cancel(batch))
    case "deleteBatchRequest":
      return remove(batches, batch, call.requestId ?? "")
  }
}
