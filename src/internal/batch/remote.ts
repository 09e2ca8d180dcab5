import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { AppendError, type Part } from "../../errors/AppendError.js"
import {
  BadRequestError,
  type BatchNotFoundError,
  DecodeError,
  isRetryable,
  PayloadTooLargeError,
  provesNoEffect,
  type RunPodError
} from "../../errors/RunPodError.js"
import type { Request, Service as RunPodHttpClient } from "../../layers/RunPodHttpClient.js"
import { type BatchOperation, type Ids, rows } from "../../schemas/Operation.js"
import * as RemoteBatch from "../../schemas/RemoteBatch.js"
import * as RunRequest from "../../schemas/RunRequest.js"
import type { Service } from "../../services/BatchApi.js"
import { contextOf, idsProblem, refuse } from "../http/arguments.js"
import { once } from "../http/requestOptions.js"
import * as Submit from "../jobs/submit.js"
import { concatBytes, utf8 } from "../text/bytes.js"
import { describeJson, isJsonObject } from "../text/json.js"

export const limits = { requests: 5_000, bytes: 10 * 1024 * 1024 } as const

const checkIds = (operation: BatchOperation, ids: Ids): BadRequestError | undefined => {
  const problem = idsProblem(operation, ids)
  return problem === undefined ? undefined : refuse(operation, problem)
}

// --- requests, written and split into calls -----------------------------------------------------------------------

interface Written {
  readonly bytes: Uint8Array
  readonly secrets: ReadonlyArray<string>
}

type SubmitOperation = "createBatch" | "appendBatch"

/** What stands around the requests in a body. */
const frames: Record<SubmitOperation, readonly [Uint8Array, Uint8Array]> = {
  createBatch: [utf8("["), utf8("]")],
  appendBatch: [utf8(`{"requests":[`), utf8("]}")]
}
const comma = utf8(",")

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
      return Either.left(refuse(operation, `a batch takes at most ${limits.requests} requests`))
    }
    const text = RunRequest.toText(request)
    if (Either.isLeft(text)) return Either.left(refuse(operation, `${at}: ${text.left}`))
    const bytes = utf8(text.right)
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

// --- the operations -----------------------------------------------------------------------------------------------

/** Whether an earlier attempt, whose answer was lost, can have done what this one was refused. */
const isRepeat = (error: BadRequestError | BatchNotFoundError): boolean => (error.attempt ?? 1) > 1

const makeCalls = (client: RunPodHttpClient) => {
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
  return {
    call,
    /** Is not aborted when its caller is interrupted: the interruption waits for its end, and logs what became of it. */
    submit: <A>(operation: SubmitOperation, ids: Ids, read: Request<A>["read"], more: Partial<Request<A>>) => {
      const options = { send: call(operation, ids, read, more), where: contextOf(operation, ids), fork: client.fork }
      const warn = ({ _tag }: Submit.Submitted<A>) =>
        Effect.logWarning(`${operation} on endpoint ${ids.endpointId} went on after its caller had gone: ${_tag}`)
      return Effect.flatMap(
        Effect.uninterruptibleMask((restore) => Submit.run(options, restore, warn)),
        (submitted): Effect.Effect<A, RunPodError> => {
          if (submitted._tag === "Accepted") return Effect.succeed(submitted.value)
          return submitted._tag === "Withdrawn" ? Effect.interrupt : Effect.fail(submitted.error)
        }
      )
    },
    status: (endpointId: string, batchId: string) =>
      call("batchStatus", { endpointId, batchId }, (body) => RemoteBatch.fromReply(body, batchId))
  }
}

type Calls = ReturnType<typeof makeCalls>

const settle =
  ({ status }: Calls): Service["settle"] =>
  (endpointId, batchId, options = {}) => {
    const { interval = "30 seconds", onProgress = () => Effect.void } = options
    // The next read is the retry: an outage must not eat up the budget that all operations share.
    const read = Effect.retry(once(status(endpointId, batchId)), {
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
  { call, status }: Calls,
  operation: BatchOperation,
  [endpointId, batchId]: readonly [endpointId: string, batchId: string],
  { body, isDone }: { readonly isDone: (batch: RemoteBatch.RemoteBatch) => boolean; readonly body?: Uint8Array }
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

const create =
  ({ submit }: Calls): Service["create"] =>
  (endpointId, requests = [], options) =>
    Effect.suspend(() => {
      const ids = { endpointId }
      const problem = checkIds("createBatch", ids)
      if (problem !== undefined) return Effect.fail(problem)
      return Effect.flatMap(write("createBatch", ids, requests), (written) => {
        const body = bodyOf("createBatch", written)
        const [size, limit] = [body.byteLength, limits.bytes]
        if (size > limit) {
          const detail = "create the batch without requests and append them"
          return Effect.fail(new PayloadTooLargeError({ ...contextOf("createBatch", ids), detail, size, limit }))
        }
        const more = { body, secrets: secretsOf(written), resubmit: options?.resubmit }
        return submit("createBatch", ids, RemoteBatch.fromCreateReply, more)
      })
    })

const append =
  ({ status, submit }: Calls): Service["append"] =>
  (endpointId, batchId, requests, options) =>
    Effect.gen(function* () {
      const ids = { endpointId, batchId }
      const problem = checkIds("appendBatch", ids)
      if (problem !== undefined) return yield* problem
      const written = yield* write("appendBatch", ids, requests)
      if (written.length === 0) return { count: 0, parts: [] }
      const before = yield* status(endpointId, batchId)
      const wrong = (detail: string) => new BadRequestError({ ...contextOf("appendBatch", ids), detail })
      if (["FINALIZED", "FAILED", "CANCELLED"].includes(before.status)) {
        return yield* wrong(`the batch is ${before.status}: requests can only be added to a draft`)
      }
      const total = (before.requestTotal ?? 0) + written.length
      if (total > limits.requests) {
        return yield* wrong(`the batch would have ${total} requests; it takes at most ${limits.requests}`)
      }
      const parts = split(written)
      const fatesWith = (fate: Part["fate"], at: number): ReadonlyArray<Part> => {
        let from = 0
        return parts.map(({ length: count }, i) => {
          from += count
          return { from: from - count, count, fate: i < at ? "Added" : i === at ? fate : "NotSent" }
        })
      }
      for (const [at, part] of parts.entries()) {
        yield* submit(
          "appendBatch",
          ids,
          acknowledged((body) => RemoteBatch.fromReply(body, batchId)),
          { body: bodyOf("appendBatch", part), secrets: secretsOf(part), resubmit: options?.resubmit }
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

const results =
  ({ call }: Calls): Service["results"] =>
  (endpointId, batchId, options = {}) => {
    const { offset: first = 0, pageSize = 50 } = options
    for (const [name, value, min] of [["pageSize", pageSize, 1] as const, ["offset", first, 0] as const]) {
      if (Number.isSafeInteger(value) && value >= min) continue
      return Stream.fail(refuse("batchResults", `${name} must be a whole number from ${min} on, got ${value}`))
    }
    return Stream.suspend(() => {
      const seen = new Set<string>()
      /** How many requests the batch can have. A total may be wrong, and then it is rather too small. */
      let most: number | undefined
      const ids = { endpointId, batchId }
      const wrong = (issue: string) => Effect.fail(new DecodeError({ ...contextOf("batchResults", ids), issue }))
      return Stream.paginateChunkEffect(first, (offset) => {
        if (most !== undefined && seen.size > most) {
          return wrong(`there are more than ${most} requests, and the page at offset ${offset} is to have further ones`)
        }
        return call("batchResults", ids, RemoteBatch.pageFromReply, {
          query: `offset=${offset}&limit=${pageSize}`
        }).pipe(
          Effect.flatMap(({ hasMore, requests, size, total = Infinity }) => {
            most ??= Number.isFinite(total) ? Math.max(total, limits.requests) : limits.requests
            const unseen = requests.filter(({ id }) => !seen.has(id) && seen.add(id))
            const hasNext = hasMore && size > 0 && (unseen.length > 0 || first + seen.size < total)
            if (hasNext && unseen.length === 0) {
              return wrong(
                `the page at offset ${offset} repeats earlier ones and promises more: the server ignores the offset`
              )
            }
            const next = hasNext ? Option.some(offset + size) : Option.none()
            return Effect.succeed([Chunk.unsafeFromArray(unseen), next] as const)
          })
        )
      })
    })
  }

export const make = (client: RunPodHttpClient): Service => {
  const calls = makeCalls(client)
  const { call, status } = calls
  return {
    create: create(calls),
    append: append(calls),
    finalize: (endpointId, batchId) =>
      act(calls, "finalizeBatch", [endpointId, batchId], { isDone: ({ status }) => status === "FINALIZED" }),
    status,
    settle: settle(calls),
    results: results(calls),
    list: (endpointId) =>
      Effect.map(call("listBatches", { endpointId }, RemoteBatch.listFromReply), ({ batches }) => batches),
    update: (endpointId, batchId, { name }) =>
      act(calls, "updateBatch", [endpointId, batchId], {
        isDone: (batch) => batch.name === name,
        body: utf8(JSON.stringify({ name }))
      }),
    cancel: (endpointId, batchId) =>
      act(calls, "cancelBatch", [endpointId, batchId], { isDone: ({ status }) => status === "CANCELLED" }),
    deleteRequest: (endpointId, batchId, requestId) =>
      call("deleteBatchRequest", { endpointId, batchId, requestId }, acknowledged(refusal)).pipe(
        Effect.asVoid,
        Effect.catchTag("BatchNotFoundError", (error) => (isRepeat(error) ? Effect.void : Effect.fail(error)))
      )
  }
}
