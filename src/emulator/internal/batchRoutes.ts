import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { defined, isJsonObject } from "../../internal/text/json.js"
import { type BatchOperation, isOfBatch, names, operations } from "../../schemas/Operation.js"
import * as Answers from "./answers.js"
import type { Answer } from "./answers.js"
import type { Batch, Batches, Order, Request } from "./batches.js"
import type { Incoming } from "./box.js"
import type { Endpoint, Engine } from "./engine.js"
import * as Submission from "./submission.js"

/** The ids in the path of an operation of the batch API. */
export interface BatchIds {
  readonly batchId?: string | undefined
  readonly requestId?: string | undefined
}

/** What a path below the endpoint, such as `batch/b1/requests`, names. */
export interface BatchRoute extends BatchIds {
  readonly operation: BatchOperation
}

const templates = names.filter(isOfBatch).map((name) => ({ name, segments: operations[name].path.split("/") }))

/** Finds the operation by path and method; by the path alone when none has the method. */
export const parse = (
  segments: ReadonlyArray<string>,
  method: string,
  decode: (segment: string) => string | undefined
): BatchRoute | undefined => {
  const matches = templates.filter(
    (template) =>
      template.segments.length === segments.length &&
      template.segments.every((segment, i) => segment.startsWith("{") || segment === segments[i])
  )
  const match = matches.find(({ name }) => operations[name].method === method) ?? matches[0]
  if (match === undefined) return undefined
  const [, batch, , request] = segments
  const batchId = batch === undefined ? undefined : decode(batch)
  const requestId = request === undefined ? undefined : decode(request)
  const isWhole =
    (batch === undefined) === (batchId === undefined) && (request === undefined) === (requestId === undefined)
  return isWhole ? { operation: match.name, ...defined({ batchId, requestId }) } : undefined
}

const largestBody = Submission.largestBody.run

/** The JSON of the body; `Left` is the answer to a body that has none or is too large. */
const readJson = (incoming: Incoming): Effect.Effect<Either.Either<unknown, Answer>> =>
  Effect.map(incoming.readBody(largestBody.bytes), (text) =>
    text === undefined
      ? Either.left(Answers.badRequest(`bad request: body: exceeded max body size of ${largestBody.says}`))
      : Either.mapLeft(Submission.parse(text), Answers.badRequest)
  )

const readOrders = (list: unknown): Either.Either<ReadonlyArray<Order>, Answer> => {
  if (!Array.isArray(list)) return Either.left(Answers.badRequest("bad request: requests: must be an array"))
  const orders: Array<Order> = []
  for (const [index, entry] of list.entries()) {
    const order = Submission.readBody(entry)
    if (Either.isLeft(order)) {
      return Either.left(Answers.badRequest(order.left.replace("bad request: ", `bad request: requests[${index}]: `)))
    }
    orders.push(order.right)
  }
  return Either.right(orders)
}

const readWhole = (text: string | null, initial: number, min: number): number | undefined => {
  if (text === null) return initial
  return /^\d{1,9}$/.test(text) && Number(text) >= min ? Number(text) : undefined
}

export const make = (batches: Batches, engine: Engine) => {
  const summary = (batch: Batch) => {
    const { requestIds, ...fields } = batches.snapshot(batch)
    return { ...fields, requestTotal: requestIds.length }
  }

  const told = (problem: string | undefined, batch: Batch): Answer =>
    problem === undefined
      ? Answers.ok(JSON.stringify({ id: batch.id, status: batches.statusOf(batch) }))
      : Answers.badRequest(`bad request: ${problem}`)

  const iso = (millis: number | undefined): string | undefined =>
    millis === undefined ? undefined : JSON.stringify(new Date(engine.onClock(millis)).toISOString())

  /** An entry of the list; `output` and `error` are JSON already. */
  const entry = (batch: Batch, request: Request): string => {
    const { id, job } = request
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

  const page = (batch: Batch, query: string): Answer => {
    const parameters = new URLSearchParams(query)
    const offset = readWhole(parameters.get("offset"), 0, 0)
    const limit = readWhole(parameters.get("limit"), 50, 1)
    if (offset === undefined) return Answers.badRequest("bad request: offset: must be a whole number")
    if (limit === undefined) return Answers.badRequest("bad request: limit: must be a whole number above 0")
    const all = batches.requests(batch)
    const entries = all.slice(offset, offset + limit).map((request) => entry(batch, request))
    const hasMore = offset + limit < all.length
    return Answers.ok(
      `{"requests":[${entries.join(",")}],"total":${all.length},"offset":${offset},"limit":${limit},"hasMore":${hasMore}}`
    )
  }

  const create = (endpoint: Endpoint, body: unknown): Answer =>
    Either.merge(
      Either.map(readOrders(body), (orders) => {
        const batch = batches.create(endpoint, orders)
        return typeof batch === "string" ? Answers.badRequest(`bad request: ${batch}`) : told(undefined, batch)
      })
    )

  const append = (batch: Batch, body: unknown): Answer =>
    Either.merge(
      Either.map(readOrders(isJsonObject(body) ? body["requests"] : undefined), (orders) =>
        told(batches.append(batch, orders), batch)
      )
    )

  const update = (batch: Batch, body: unknown): Answer => {
    const name = isJsonObject(body) ? body["name"] : undefined
    if (typeof name !== "string") return Answers.badRequest("bad request: name: must be a string")
    batch.name = name
    return Answers.ok(JSON.stringify(summary(batch)))
  }

  const withJson = (incoming: Incoming, answer: (body: unknown) => Answer): Effect.Effect<Answer> =>
    Effect.map(readJson(incoming), (body) => Either.merge(Either.map(body, answer)))

  return (
    operation: BatchOperation,
    endpoint: Endpoint,
    incoming: Incoming,
    ids: BatchIds,
    query: string
  ): Answer | Effect.Effect<Answer> => {
    if (operation === "createBatch") return withJson(incoming, (body) => create(endpoint, body))
    if (operation === "listBatches") {
      return Answers.ok(JSON.stringify({ batches: batches.list(endpoint).map(summary) }))
    }
    const batch = batches.find(endpoint, ids.batchId ?? "")
    if (batch === undefined) return Answers.batchNotFound
    switch (operation) {
      case "batchStatus":
        return Answers.ok(JSON.stringify(summary(batch)))
      case "updateBatch":
        return withJson(incoming, (body) => update(batch, body))
      case "appendBatch":
        return withJson(incoming, (body) => append(batch, body))
      case "batchResults":
        return page(batch, query)
      case "finalizeBatch":
        return told(batches.finalize(batch), batch)
      case "cancelBatch":
        return told(batches.cancel(batch), batch)
      case "deleteBatchRequest": {
        const request = batch.requests.get(ids.requestId ?? "")
        if (request === undefined) return Answers.requestNotFound
        const problem = batches.remove(batch, request)
        return problem === undefined ? Answers.noContent : told(problem, batch)
      }
    }
  }
}
