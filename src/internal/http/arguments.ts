import type * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import { BadRequestError, type Context, PayloadTooLargeError } from "../../errors/RunPodError.js"
import * as EndpointId from "../../schemas/EndpointId.js"
import { type Ids, type Operation, operations, pathOf, templateOf } from "../../schemas/Operation.js"
import * as RunRequest from "../../schemas/RunRequest.js"
import { utf8 } from "../text/bytes.js"
import { idProblem } from "../text/identifier.js"

/** What the error of a request says of where it happened. */
export const contextOf = (operation: Operation, ids: Omit<Ids, "requestId">): Context => ({
  operation,
  method: operations[operation].method,
  path: pathOf(operation, ids),
  ...ids
})

/** The error of a wrong argument. The ids may be what is wrong, so they are left out. */
export const refuse = (operation: Operation, detail: string, path = templateOf(operation)): BadRequestError =>
  new BadRequestError({ operation, method: operations[operation].method, path, detail })

/** What is wrong with the ids that an operation takes. */
export const idsProblem = (operation: Operation, ids: Ids): string | undefined => {
  const { path } = operations[operation]
  const problem = EndpointId.problemOf(ids.endpointId)
  if (problem !== undefined) return `the endpoint id is not valid: ${problem}`
  for (const name of ["job", "batch", "request"] as const) {
    const problem = path.includes(`{${name}Id}`) ? idProblem(ids[`${name}Id`]) : undefined
    if (problem !== undefined) return `the ${name} id is not valid: ${problem}`
  }
  return undefined
}

export const checkIds = (operation: Operation, endpointId: string, jobId?: string): BadRequestError | undefined => {
  const problem = idsProblem(operation, { endpointId, jobId })
  return problem === undefined ? undefined : refuse(operation, problem)
}

/** How long to hold, in milliseconds; `undefined` where the caller does not say. */
export const readHold = (operation: Operation, wait: Duration.DurationInput | undefined) =>
  wait === undefined
    ? Either.right(undefined)
    : Either.mapLeft(RunRequest.waitMillis(wait), (problem) => refuse(operation, problem))

/** The most RunPod takes in a body, in bytes. Source: RunPod's endpoint operation reference. */
const largestBody = { run: 10 * 1024 * 1024, runSync: 20_000_000 }

/** The body of a submit. */
export const readBody = (operation: "run" | "runSync", endpointId: string, request: RunRequest.RunRequest) =>
  RunRequest.toText(request).pipe(
    Either.mapLeft((problem): BadRequestError | PayloadTooLargeError => refuse(operation, problem)),
    Either.flatMap((text) => {
      const body = utf8(text)
      const [size, limit] = [body.byteLength, largestBody[operation]]
      if (size <= limit) return Either.right(body)
      return Either.left(new PayloadTooLargeError({ ...contextOf(operation, { endpointId }), size, limit }))
    })
  )
