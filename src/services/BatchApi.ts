/**
 * RunPod's batch API (beta): requests are collected in a draft, which is finalized and then run at RunPod's leisure, apart
 * from the endpoint's ordinary jobs. RunPod documents at most 5,000 requests in a batch and 10 active batches on an endpoint.
 *
 * For jobs that are submitted one by one from here, paced and followed, see `Batch`.
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { BatchApi } from "effect-runpod"
 *
 * export const program = Effect.gen(function* () {
 *   const batches = yield* BatchApi.BatchApi
 *   const { id } = yield* batches.create("my-endpoint")
 *   yield* batches.append("my-endpoint", id, [{ input: { key: 1, text: "fox" } }, { input: { key: 2, text: "dog" } }])
 *   yield* batches.finalize("my-endpoint", id)
 *   yield* batches.settle("my-endpoint", id)
 *   return yield* Stream.runCollect(batches.results("my-endpoint", id))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  BadRequestError,
  type BatchNotFoundError,
  isRetryable,
  isRunPodError,
  PayloadTooLargeError,
  provesNoEffect,
  type RunPodError
} from "../errors/RunPodError.js"
import { concatBytes } from "../internal/text/bytes.js"
import { idProblem } from "../internal/text/identifier.js"
import { defined, describeJson, isJsonObject } from "../internal/text/json.js"
import * as Submit from "../internal/jobs/submit.js"
import { once } from "../internal/http/requestOptions.js"
import { type Request, RunPodHttpClient } from "../layers/RunPodHttpClient.js"
import * as EndpointId from "../schemas/EndpointId.js"
import { type BatchOperation, operations, pathOf, rows } from "../schemas/Operation.js"
import * as RemoteBatch from "../schemas/RemoteBatch.js"
import * as RunRequest from "../schemas/RunRequest.js"
import type { SubmitOptions } from "./RunPod.js"

/**
 * What became of a part of an append: the requests from index `from` on, that went in one call.
 *
 * - `Added`: they are in the batch;
 * - `NotAdded`: RunPod refused them, or never got them;
 * - `Unknown`: the answer was lost, and they may be in the batch or not;
 * - `NotSent`: a part before them went wrong.
 *
 * @since 0.1.0
 * @category models
 */
export const Part = Schema.Struct({
  from: Schema.Number,
  count: Schema.Number,
  fate: Schema.Literal("Added", "NotAdded", "Unknown", "NotSent")
})

/**
 * @since 0.1.0
 * @category models
 */
export type Part = typeof Part.Type

/**
 * An append whose every part was added.
 *
 * @since 0.1.0
 * @category models
 */
export interface Appended {
  /** How many requests were added. */
  readonly count: number
  /** The calls it took, in order. */
  readonly parts: ReadonlyArray<Part>
}

/**
 * An append that stopped at a part: those before it are in the batch, those after it were not sent. A part whose fate is
 * `Unknown` is in the batch when its `requestTotal` has grown by more than the parts that were `Added`, as long as nobody
 * else appends to it.
 *
 * @since 0.1.0
 * @category errors
 */
export class AppendError extends Schema.TaggedError<AppendError>("effect-runpod/AppendError")("AppendError", {
  endpointId: Schema.String,
  batchId: Schema.String,
  /** The batch's `requestTotal` before the append, when RunPod told it. */
  totalBefore: Schema.optional(Schema.Number),
  parts: Schema.Array(Part),
  /** What went wrong at the first part that is not `Added`. */
  cause: Schema.declare(isRunPodError, { identifier: "RunPodError" })
}) {
  override get message(): string {
    const of = (...fates: ReadonlyArray<Part["fate"]>) =>
      this.parts.reduce((sum, { count, fate }) => (fates.includes(fate) ? sum + count : sum), 0)
    const unknown = of("Unknown")
    const doubt = unknown === 0 ? "" : `, of ${unknown} more it is not known`
    const known = `${of("Added")} of ${this.parts.reduce((sum, { count }) => sum + count, 0)} requests were added${doubt}`
    const next =
      unknown === 0
        ? "Append the rest once the cause is mended."
        : "Compare the batch's requestTotal with the parts before you append the rest."
    return `append to batch ${this.batchId} on endpoint ${this.endpointId}: ${known}. ${this.cause.message} ${next}`
  }
}

/**
 * What can be changed in a batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attributes {
  /** The name it is shown under in the console. */
  readonly name: string
}

/**
 * Choices of `results`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResultsOptions {
  /** How many requests a page has. Default: 50, RunPod's own. */
  readonly pageSize?: number | undefined
  /** How many requests to leave out at the beginning. Default: 0. */
  readonly offset?: number | undefined
}

/**
 * Choices of `settle`.
 *
 * @since 0.1.0
 * @category models
 */
export interface SettleOptions {
  /** How long to wait between two reads. Default: 30 seconds. */
  readonly interval?: Duration.DurationInput | undefined
  /** Called with each batch that was read, the last included. */
  readonly onProgress?: ((batch: RemoteBatch.RemoteBatch) => Effect.Effect<void>) | undefined
}

/**
 * The operations of the batch API. They go through the pipeline of the `RunPod` layer: its limits, retries, errors, spans
 * and metrics. What is wrong with an argument fails with `BadRequestError` before anything is sent; what RunPod does not
 * know, with `EndpointNotFoundError` or `BatchNotFoundError`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Creates a draft, with these requests in it if there are any; for more than 10 MiB of them, create it without and use
   * `append`. When the answer is lost it fails with `SubmitAmbiguousError`, unless `resubmit` says to send it again.
   */
  readonly create: (
    endpointId: string,
    requests?: Iterable<RunRequest.RunRequest>,
    options?: SubmitOptions
  ) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /**
   * Adds requests to a draft, in calls of at most 10 MiB, one after the other; more than 5,000 in all are refused before any
   * is sent. A call whose answer is lost is not sent again, unless `resubmit` says so: RunPod would add its requests a second
   * time; an interruption leaves the fate of the call under way open, too. RunPod keeps no order and no inputs: put a key of
   * your own into each input and let the handler return it.
   */
  readonly append: (
    endpointId: string,
    batchId: string,
    requests: Iterable<RunRequest.RunRequest>,
    options?: SubmitOptions
  ) => Effect.Effect<Appended, RunPodError | AppendError>
  /** Locks a draft and starts its requests, which costs money. */
  readonly finalize: (endpointId: string, batchId: string) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /** Reads a batch. */
  readonly status: (endpointId: string, batchId: string) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /**
   * Reads a batch until it has finished, as `RemoteBatch.isFinished` tells, through outages however long. That can take hours
   * and, for a draft that nobody finalizes, for ever: bound it with `Effect.timeout`.
   */
  readonly settle: (
    endpointId: string,
    batchId: string,
    options?: SettleOptions
  ) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /**
   * The requests of a batch and their results, page by page, each of them once. Read it when the batch has finished: while
   * it runs, requests move between pages, and some can be missed.
   */
  readonly results: (
    endpointId: string,
    batchId: string,
    options?: ResultsOptions
  ) => Stream.Stream<RemoteBatch.BatchRequest, RunPodError>
  /** The endpoint's batches, the newest first. */
  readonly list: (endpointId: string) => Effect.Effect<ReadonlyArray<RemoteBatch.RemoteBatch>, RunPodError>
  /** Changes what the batch is called. */
  readonly update: (
    endpointId: string,
    batchId: string,
    attributes: Attributes
  ) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /** Cancels a batch: what is queued never runs; what runs goes on to its end, and only then is the batch CANCELLED. */
  readonly cancel: (endpointId: string, batchId: string) => Effect.Effect<RemoteBatch.RemoteBatch, RunPodError>
  /** Removes a request from a draft. */
  readonly deleteRequest: (endpointId: string, batchId: string, requestId: string) => Effect.Effect<void, RunPodError>
}

/**
 * The tag of the batch API.
 *
 * @since 0.1.0
 * @category tags
 */
export class BatchApi extends Context.Tag("effect-runpod/BatchApi")<BatchApi, Service>() {}

/**
 * RunPod's limits of the batch API. Source: RunPod's page on batch jobs (beta).
 *
 * @since 0.1.0
 * @category constants
 */
export const limits = {
  /** Requests in one batch. */
  requests: 5_000,
  /** Bytes in the body of one call. */
  bytes: 10 * 1024 * 1024
} as const

const encoder = new TextEncoder()

// --- checks before anything is sent -------------------------------------------------------------------------------

interface Ids {
  readonly endpointId: string
  readonly batchId?: string | undefined
  readonly requestId?: string | undefined
}

const contextOf = (operation: BatchOperation, ids: Ids) => {
  const { batchId, endpointId } = ids
  const { method } = operations[operation]
  return { operation, method, path: pathOf(operation, ids), endpointId, ...defined({ batchId }) }
}

/** The ids may be what is wrong, so they are left out. */
const invalid = (operation: BatchOperation, detail: string) => {
  const { method, path } = operations[operation]
  return new BadRequestError({ operation, method, path: `/{endpointId}/${path}`, detail })
}

const checkIds = (operation: BatchOperation, ids: Ids): BadRequestError | undefined => {
  const { path } = operations[operation]
  const problems: ReadonlyArray<readonly [string, string | undefined]> = [
    ["endpoint", EndpointId.problemOf(ids.endpointId)],
    ["batch", path.includes("{batchId}") ? idProblem(ids.batchId) : undefined],
    ["request", path.includes("{requestId}") ? idProblem(ids.requestId) : undefined]
  ]
  for (const [name, problem] of problems) {
    if (problem !== undefined) return invalid(operation, `the ${name} id is not valid: ${problem}`)
  }
  return undefined
}

/** A request, checked and written. */
interface Written {
  readonly bytes: Uint8Array
  readonly secrets: ReadonlyArray<string>
}

type SubmitOperation = "createBatch" | "appendBatch"

/** What stands around the requests in a body. */
const frames: Record<SubmitOperation, readonly [Uint8Array, Uint8Array]> = {
  createBatch: [encoder.encode("["), encoder.encode("]")],
  appendBatch: [encoder.encode(`{"requests":[`), encoder.encode("]}")]
}
const comma = encoder.encode(",")

/** How many bytes a body has beside its requests and their commas. */
const frameSize = (operation: SubmitOperation) => frames[operation][0].byteLength + frames[operation][1].byteLength

const write = (
  operation: SubmitOperation,
  ids: Ids,
  requests: Iterable<RunRequest.RunRequest>
): Either.Either<ReadonlyArray<Written>, RunPodError> => {
  const written: Array<Written> = []
  for (const request of requests) {
    const at = `requests[${written.length}]`
    if (written.length === limits.requests) {
      return Either.left(invalid(operation, `a batch takes at most ${limits.requests} requests`))
    }
    const text = RunRequest.toText(request)
    if (Either.isLeft(text)) return Either.left(invalid(operation, `${at}: ${text.left}`))
    const bytes = encoder.encode(text.right)
    const size = bytes.byteLength + frameSize(operation)
    if (size > limits.bytes) {
      const where = contextOf(operation, ids)
      return Either.left(new PayloadTooLargeError({ ...where, detail: at, size, limit: limits.bytes }))
    }
    written.push({ bytes, secrets: RunRequest.secretsOf(request) })
  }
  return Either.right(written)
}

/** Splits requests so that each part fits into one body. */
const split = (requests: ReadonlyArray<Written>): ReadonlyArray<ReadonlyArray<Written>> => {
  const parts: Array<Array<Written>> = []
  let room = 0
  for (const request of requests) {
    const size = request.bytes.byteLength + comma.byteLength
    const last = parts.at(-1)
    if (last !== undefined && size <= room) {
      last.push(request)
      room -= size
    } else {
      parts.push([request])
      room = limits.bytes - frameSize("appendBatch") - request.bytes.byteLength
    }
  }
  return parts
}

const bodyOf = (operation: SubmitOperation, requests: ReadonlyArray<Written>): Uint8Array => {
  const [before, after] = frames[operation]
  const inner = requests.flatMap(({ bytes }, index) => (index === 0 ? [bytes] : [comma, bytes]))
  return concatBytes([before, ...inner, after])
}

const secretsOf = (requests: ReadonlyArray<Written>) => requests.flatMap(({ secrets }) => secrets)

const wholeNumber = (name: string, value: number, min: number): BadRequestError | undefined =>
  Number.isSafeInteger(value) && value >= min
    ? undefined
    : invalid("batchResults", `${name} must be a whole number from ${min} on, got ${value}`)

// --- readers ------------------------------------------------------------------------------------------------------

/** What is answered to an action is not documented: anything that is no refusal is taken. */
const acknowledged =
  <A>(read: Request<A>["read"]): Request<A | undefined>["read"] =>
  (body) => {
    if (body === undefined || body === null) return Either.right(undefined)
    const batch = read(body)
    if (Either.isRight(batch)) return batch
    if (!isJsonObject(body)) return Either.left(`expected an acknowledgement, got ${describeJson(body)}`)
    return body["error"] === undefined || body["error"] === null ? Either.right(undefined) : batch
  }

const refusal: Request<never>["read"] = () => Either.left(`expected an acknowledgement, got an "error"`)

// --- the service --------------------------------------------------------------------------------------------------

/** Whether an earlier attempt, whose answer was lost, can have done what this one was refused. */
const isRepeat = (error: BadRequestError | BatchNotFoundError): boolean => (error.attempt ?? 1) > 1

/**
 * The service over the client it is provided with.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Service, never, RunPodHttpClient> = Effect.map(RunPodHttpClient, (client) => {
  const call = <A>(
    operation: BatchOperation,
    { batchId, endpointId, requestId }: Ids,
    read: Request<A>["read"],
    more: Partial<Request<A>> = {}
  ): Effect.Effect<A, RunPodError> =>
    Effect.suspend(() => {
      const params = { endpointId, batchId, requestId }
      const problem = checkIds(operation, params)
      return problem === undefined
        ? client.execute({ operation: rows[operation], params, read, mayBeEmpty: true, ...more })
        : Effect.fail(problem)
    })

  /** Not aborted when its caller is interrupted: the interruption waits for its end, and logs what became of it. */
  const submit = <A>(operation: SubmitOperation, ids: Ids, send: Effect.Effect<A, RunPodError>) => {
    const where = contextOf(operation, ids)
    return Effect.uninterruptibleMask((restore) =>
      Submit.run({ send, where, fork: client.fork }, restore, ({ _tag }) =>
        Effect.logWarning(`${operation} on endpoint ${ids.endpointId} went on after its caller had gone: ${_tag}`)
      )
    ).pipe(
      Effect.flatMap((submitted): Effect.Effect<A, RunPodError> => {
        if (submitted._tag === "Accepted") return Effect.succeed(submitted.value)
        return submitted._tag === "Withdrawn" ? Effect.interrupt : Effect.fail(submitted.error)
      })
    )
  }

  const readBatch = (endpointId: string, batchId: string) =>
    call("batchStatus", { endpointId, batchId }, (body) => RemoteBatch.fromReply(body, batchId))

  const status: Service["status"] = (endpointId, batchId) => readBatch(endpointId, batchId)

  const settle: Service["settle"] = (endpointId, batchId, options = {}) => {
    const { interval = "30 seconds", onProgress = () => Effect.void } = options
    // The next read is the retry: an outage must not eat up the budget that all operations share.
    const read = Effect.retry(once(readBatch(endpointId, batchId)), {
      while: isRetryable,
      schedule: Schedule.spaced(interval)
    })
    const next: Effect.Effect<RemoteBatch.RemoteBatch, RunPodError> = Effect.flatMap(
      Effect.tap(read, onProgress),
      (batch) => (RemoteBatch.isFinished(batch) ? Effect.succeed(batch) : Effect.zipRight(Effect.sleep(interval), next))
    )
    return next
  }

  /** An action that changes nothing more when it is repeated, but may be refused then. */
  const act = (
    operation: BatchOperation,
    endpointId: string,
    batchId: string,
    isDone: (batch: RemoteBatch.RemoteBatch) => boolean,
    body?: Uint8Array
  ): Effect.Effect<RemoteBatch.RemoteBatch, RunPodError> => {
    const read = acknowledged((body) => RemoteBatch.fromReply(body, batchId))
    return call(operation, { endpointId, batchId }, read, { body }).pipe(
      Effect.flatMap((batch) => (batch === undefined ? status(endpointId, batchId) : Effect.succeed(batch))),
      Effect.catchTag("BadRequestError", (error) =>
        isRepeat(error)
          ? Effect.orElseFail(Effect.filterOrFail(status(endpointId, batchId), isDone), () => error)
          : Effect.fail(error)
      )
    )
  }

  const create: Service["create"] = (endpointId, requests = [], options) =>
    Effect.suspend(() => {
      const ids = { endpointId }
      const problem = checkIds("createBatch", ids)
      if (problem !== undefined) return Effect.fail(problem)
      return Effect.flatMap(write("createBatch", ids, requests), (written) => {
        const body = bodyOf("createBatch", written)
        return body.byteLength > limits.bytes
          ? Effect.fail(
              new PayloadTooLargeError({
                ...contextOf("createBatch", ids),
                detail: "create the batch without requests and append them",
                size: body.byteLength,
                limit: limits.bytes
              })
            )
          : submit(
              "createBatch",
              ids,
              call("createBatch", ids, RemoteBatch.fromCreateReply, {
                body,
                secrets: secretsOf(written),
                resubmit: options?.resubmit
              })
            )
      })
    })

  const append: Service["append"] = (endpointId, batchId, requests, options) =>
    Effect.gen(function* () {
      const ids = { endpointId, batchId }
      const problem = checkIds("appendBatch", ids)
      if (problem !== undefined) return yield* problem
      const written = yield* write("appendBatch", ids, requests)
      if (written.length === 0) return { count: 0, parts: [] }
      const before = yield* status(endpointId, batchId)
      const refuse = (detail: string) => new BadRequestError({ ...contextOf("appendBatch", ids), detail })
      if (["FINALIZED", "FAILED", "CANCELLED"].includes(before.status)) {
        return yield* refuse(`the batch is ${before.status}: requests can only be added to a draft`)
      }
      const total = (before.requestTotal ?? 0) + written.length
      if (total > limits.requests) {
        return yield* refuse(`the batch would have ${total} requests; it takes at most ${limits.requests}`)
      }
      let from = 0
      const parts = split(written).map((part) => {
        from += part.length
        return { part, from: from - part.length, count: part.length }
      })
      const fatesWith = (fate: Part["fate"], at: number): ReadonlyArray<Part> =>
        parts.map(({ count, from }, i) => ({ from, count, fate: i < at ? "Added" : i === at ? fate : "NotSent" }))
      for (const [at, { part }] of parts.entries()) {
        yield* submit(
          "appendBatch",
          ids,
          call(
            "appendBatch",
            ids,
            acknowledged((body) => RemoteBatch.fromReply(body, batchId)),
            { body: bodyOf("appendBatch", part), secrets: secretsOf(part), resubmit: options?.resubmit }
          )
        ).pipe(
          Effect.mapError((cause) => {
            const fate = provesNoEffect(cause) ? "NotAdded" : "Unknown"
            const totalBefore = before.requestTotal
            return new AppendError({ endpointId, batchId, totalBefore, parts: fatesWith(fate, at), cause })
          })
        )
      }
      return { count: written.length, parts: fatesWith("Added", parts.length) }
    })

  const results: Service["results"] = (endpointId, batchId, options = {}) => {
    const { offset: first = 0, pageSize = 50 } = options
    const problem = wholeNumber("pageSize", pageSize, 1) ?? wholeNumber("offset", first, 0)
    if (problem !== undefined) return Stream.fail(problem)
    return Stream.suspend(() => {
      const seen = new Set<string>()
      return Stream.paginateChunkEffect(first, (offset) =>
        call("batchResults", { endpointId, batchId }, RemoteBatch.pageFromReply, {
          query: `offset=${offset}&limit=${pageSize}`
        }).pipe(
          Effect.map(({ hasMore, requests, size }) => {
            const unseen = requests.filter(({ id }) => !seen.has(id) && seen.add(id))
            const next = hasMore && size > 0 ? Option.some(offset + size) : Option.none()
            return [Chunk.unsafeFromArray(unseen), next] as const
          })
        )
      )
    })
  }

  return {
    create,
    append,
    finalize: (endpointId, batchId) =>
      act("finalizeBatch", endpointId, batchId, ({ status }) => status === "FINALIZED"),
    status,
    settle,
    results,
    list: (endpointId) =>
      Effect.map(call("listBatches", { endpointId }, RemoteBatch.listFromReply), ({ batches }) => batches),
    update: (endpointId, batchId, { name }) =>
      act("updateBatch", endpointId, batchId, (batch) => batch.name === name, encoder.encode(JSON.stringify({ name }))),
    cancel: (endpointId, batchId) => act("cancelBatch", endpointId, batchId, ({ status }) => status === "CANCELLED"),
    deleteRequest: (endpointId, batchId, requestId) =>
      call("deleteBatchRequest", { endpointId, batchId, requestId }, acknowledged(refusal)).pipe(
        Effect.asVoid,
        Effect.catchTag("BatchNotFoundError", (error) => (isRepeat(error) ? Effect.void : Effect.fail(error)))
      )
  }
})

/**
 * The service as a layer, over the client that `RunPod.layer` provides beside its service.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<BatchApi, never, RunPodHttpClient> = Layer.effect(BatchApi, make)
