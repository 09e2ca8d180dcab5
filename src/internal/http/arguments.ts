import { BadRequestError, type Context } from "../../errors/RunPodError.js"
import * as EndpointId from "../../schemas/EndpointId.js"
import { type Ids, type Operation, operations, pathOf, templateOf } from "../../schemas/Operation.js"
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
