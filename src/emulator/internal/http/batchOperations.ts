import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { isJsonObject } from "../../../internal/text/json.js"
import type { BatchOperation } from "../../../schemas/Operation.js"
import * as Batches from "../jobs/batches.js"
import * as Lifecycle from "../jobs/lifecycle.js"
import {
  type Batch,
  type BatchRequest,
  type Endpoint,
  type JobRequest,
  largestBody,
  type Model
} from "../jobs/model.js"
import type { Answer, Call, HttpRequest, HttpResponse } from "./messages.js"
import * as RequestParser from "./requestParser.js"
import * as Responses from "./responses.js"

const withJson = (request: HttpRequest, respond: (body: unknown) => HttpResponse): Effect.Effect<HttpResponse> =>
  Effect.map(request.readBody(largestBody.run.bytes), (text) => {
    if (text === undefined) return Responses.tooLarge("run")
    return Either.match(RequestParser.parseJson(text), { onLeft: Responses.refused, onRight: respond })
  })

const readRequests = (list: unknown): Either.Either<ReadonlyArray<JobRequest>, string> =>
  Array.isArray(list)
    ? Either.all(
        list.map((entry, index) =>
          Either.mapLeft(RequestParser.readJobRequest(entry), (problem) => `requests[${index}]: ${problem}`)
        )
      )
    : Either.left("requests: must be an array")

const readWhole = (text: string | null, initial: number, min: number): number | undefined => {
  if (text === null) return initial
  return /^\d{1,9}$/.test(text) && Number(text) >= min ? Number(text) : undefined
}

const changed = (model: Model, change: Either.Either<Batch, string>): HttpResponse =>
  Either.match(change, {
    onLeft: Responses.refused,
    onRight: (batch) => Responses.ok({ id: batch.id, status: Batches.statusOf(model, batch) })
  })

const summary = (model: Model, batch: Batch) => {
  const { requestIds, ...fields } = Batches.snapshot(model, batch)
  return { ...fields, requestTotal: requestIds.length }
}

const isoTime = (millis: number | undefined) => (millis === undefined ? undefined : new Date(millis).toISOString())

const entry = (model: Model, batch: Batch, request: BatchRequest) => {
  const job = request.job && Lifecycle.snapshot(model, request.job)
  const status = Batches.requestStatus(model, batch, request)
  const isLost = status === "FAILED" && job?.status !== "FAILED"
  return {
    id: request.id,
    status,
    output: status === "COMPLETED" ? job?.output : undefined,
    error: isLost ? "the request expired" : job?.error,
    startedAt: isoTime(job?.startedAt),
    completedAt: isoTime(job?.finishedAt)
  }
}

const page = (model: Model, batch: Batch, query: string): HttpResponse => {
  const parameters = new URLSearchParams(query)
  const offset = readWhole(parameters.get("offset"), 0, 0)
  const limit = readWhole(parameters.get("limit"), 50, 1)
  if (offset === undefined) return Responses.refused("offset: must be a whole number")
  if (limit === undefined) return Responses.refused("limit: must be a whole number above 0")
  const all = Batches.requests(model, batch)
  const requests = all.slice(offset, offset + limit).map((request) => entry(model, batch, request))
  return Responses.ok({ requests, total: all.length, offset, limit, hasMore: offset + limit < all.length })
}

const update = (model: Model, batch: Batch, body: unknown): HttpResponse => {
  const name = isJsonObject(body) ? body["name"] : undefined
  if (typeof name !== "string") return Responses.refused("name: must be a string")
  batch.name = name
  return Responses.ok(summary(model, batch))
}

const remove = (batch: Batch, requestId: string): HttpResponse => {
  const request = batch.requests.get(requestId)
  if (request === undefined) return Responses.requestNotFound
  return Either.match(Batches.remove(batch, request), {
    onLeft: Responses.refused,
    onRight: () => Responses.noContent
  })
}

export const execute = (model: Model, endpoint: Endpoint, operation: BatchOperation, call: Call): Answer => {
  const { request, route } = call
  if (operation === "createBatch") {
    const create = Either.flatMap((requests: ReadonlyArray<JobRequest>) => Batches.create(model, endpoint, requests))
    return withJson(request, (body) => changed(model, create(readRequests(body))))
  }
  if (operation === "listBatches") {
    // The newest first.
    const batches = [...endpoint.batches.values()].toReversed()
    return Responses.ok({ batches: batches.map((batch) => summary(model, batch)) })
  }
  const batch = endpoint.batches.get(route.batchId ?? "")
  if (batch === undefined) return Responses.batchNotFound
  switch (operation) {
    case "batchStatus":
      return Responses.ok(summary(model, batch))
    case "updateBatch":
      return withJson(request, (body) => update(model, batch, body))
    case "appendBatch": {
      const append = Either.flatMap((requests: ReadonlyArray<JobRequest>) => Batches.append(model, batch, requests))
      const listOf = (body: unknown) => (isJsonObject(body) ? body["requests"] : undefined)
      return withJson(request, (body) => changed(model, append(readRequests(listOf(body)))))
    }
    case "batchResults":
      return page(model, batch, route.query)
    case "finalizeBatch":
      return changed(model, Batches.finalize(model, batch))
    case "cancelBatch":
      return changed(model, Batches.cancel(model, batch))
    case "deleteBatchRequest":
      return remove(batch, route.requestId ?? "")
  }
}
