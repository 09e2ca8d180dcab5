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
  isRetryable,
  PayloadTooLargeError,
  provesNoEffect,
  type RunPodError
} from "../../errors/RunPodError.js"
import type { Request, Service as RunPodHttpClient } from "../../layers/RunPodHttpClient.js"
import { type BatchOperation, rows } from "../../schemas/Operation.js"
import * as RemoteBatch from "../../schemas/RemoteBatch.js"
import type { Service } from "../../services/BatchApi.js"
import { once } from "../http/requestOptions.js"
import * as Submit from "../jobs/submit.js"
import { utf8 } from "../text/bytes.js"
import { describeJson, isJsonObject } from "../text/json.js"
import {
  bodyOf,
  checkIds,
  contextOf,
  type Ids,
  invalid,
  limits,
  secretsOf,
  split,
  type SubmitOperation,
  write
} from "./remoteRequests.js"

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

/** Operations of the batch API over a client. */
interface Calls {
  readonly call: <A>(
    operation: BatchOperation,
    ids: Ids,
    read: Request<A>["read"],
    more?: Partial<Request<A>>
  ) => Effect.Effect<A, RunPodError>
  /**
   * An operation that is not aborted when its caller is interrupted: the interruption waits for its end, and logs what became
   * of it.
   */
  readonly submit: <A>(
    operation: SubmitOperation,
    ids: Ids,
    read: Request<A>["read"],
    more: Partial<Request<A>>
  ) => Effect.Effect<A, RunPodError>
  readonly status: Service["status"]
}

const makeCalls = (client: RunPodHttpClient): Calls => {
  const call: Calls["call"] = (operation, { batchId, endpointId, requestId }, read, more = {}) =>
    Effect.suspend(() => {
      const params = { endpointId, batchId, requestId }
      const problem = checkIds(operation, params)
      return problem === undefined
        ? client.execute({ operation: rows[operation], params, read, mayBeEmpty: true, ...more })
        : Effect.fail(problem)
    })
  return {
    call,
    submit: <A>(
      operation: SubmitOperation,
      ids: Ids,
      read: Request<A>["read"],
      more: Partial<Request<A>>
    ): Effect.Effect<A, RunPodError> => {
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
    status: (endpointId, batchId) =>
      call("batchStatus", { endpointId, batchId }, (body) => RemoteBatch.fromReply(body, batchId))
  }
}

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
        return body.byteLength > limits.bytes
          ? Effect.fail(
              new PayloadTooLargeError({
                ...contextOf("createBatch", ids),
                detail: "create the batch without requests and append them",
                size: body.byteLength,
                limit: limits.bytes
              })
            )
          : submit("createBatch", ids, RemoteBatch.fromCreateReply, {
              body,
              secrets: secretsOf(written),
              resubmit: options?.resubmit
            })
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

/** The service over a client. */
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
