import * as Either from "effect/Either"
import { BadRequestError, PayloadTooLargeError, type RunPodError } from "../../errors/RunPodError.js"
import * as EndpointId from "../../schemas/EndpointId.js"
import { type BatchOperation, operations, pathOf } from "../../schemas/Operation.js"
import * as RunRequest from "../../schemas/RunRequest.js"
import { concatBytes, utf8 } from "../text/bytes.js"
import { idProblem } from "../text/identifier.js"
import { defined } from "../text/json.js"

/** RunPod's limits of the batch API. */
export const limits = {
  requests: 5_000,
  bytes: 10 * 1024 * 1024
} as const

export interface Ids {
  readonly endpointId: string
  readonly batchId?: string | undefined
  readonly requestId?: string | undefined
}

export const contextOf = (operation: BatchOperation, ids: Ids) => {
  const { batchId, endpointId } = ids
  const { method } = operations[operation]
  return { operation, method, path: pathOf(operation, ids), endpointId, ...defined({ batchId }) }
}

/** The ids may be what is wrong, so they are left out. */
export const invalid = (operation: BatchOperation, detail: string) => {
  const { method, path } = operations[operation]
  return new BadRequestError({ operation, method, path: `/{endpointId}/${path}`, detail })
}

export const checkIds = (operation: BatchOperation, ids: Ids): BadRequestError | undefined => {
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
export interface Written {
  readonly bytes: Uint8Array
  readonly secrets: ReadonlyArray<string>
}

export type SubmitOperation = "createBatch" | "appendBatch"

/** What stands around the requests in a body. */
const frames: Record<SubmitOperation, readonly [Uint8Array, Uint8Array]> = {
  createBatch: [utf8("["), utf8("]")],
  appendBatch: [utf8(`{"requests":[`), utf8("]}")]
}
const comma = utf8(",")

/** How many bytes a body has beside its requests and their commas. */
const frameSize = (operation: SubmitOperation) => frames[operation][0].byteLength + frames[operation][1].byteLength

export const write = (
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
export const split = (requests: ReadonlyArray<Written>): ReadonlyArray<ReadonlyArray<Written>> => {
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

export const bodyOf = (operation: SubmitOperation, requests: ReadonlyArray<Written>): Uint8Array => {
  const [before, after] = frames[operation]
  const inner = requests.flatMap(({ bytes }, index) => (index === 0 ? [bytes] : [comma, bytes]))
  return concatBytes([before, ...inner, after])
}

export const secretsOf = (requests: ReadonlyArray<Written>) => requests.flatMap(({ secrets }) => secrets)
