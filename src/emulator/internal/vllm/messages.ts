import type { JsonObject } from "../../../internal/text/json.js"
import type { VllmOptions } from "../../vllm.js"

/** A frame of a stream, and how many tokens it took. */
export interface Frame {
  readonly text: string
  readonly tokens: number
}

export interface Answered {
  readonly body: object
  /** The same as a stream; none where the route does not stream. */
  readonly frames: ReadonlyArray<Frame> | undefined
  readonly tokens: number
  /** Whether its streams end with `[DONE]`. */
  readonly isDone: boolean
}

export type Route = (request: {
  readonly body: JsonObject
  readonly model: string
  /** Seconds. */
  readonly created: number
  readonly isOld: boolean
  readonly newId: (prefix: string) => string
  readonly options: VllmOptions
}) => Answered | EngineError

/** Why a stream broke off. */
export class Broken {
  constructor(readonly message: string) {}
}

/** An answer that is an error, with the status and the body that vLLM sends. */
export class EngineError {
  constructor(
    readonly status: number,
    readonly body: object
  ) {}
}

const error = (status: number, type: string, message: string) =>
  new EngineError(status, { error: { message, type, param: null, code: status } })

export const badRequest = (message: string): EngineError => error(400, "BadRequestError", message)

export const noSuchModel = (model: string): EngineError =>
  new EngineError(404, {
    error: { message: `The model \`${model}\` does not exist.`, type: "NotFoundError", param: "model", code: 404 }
  })

export const internalError = (message: string): EngineError => error(500, "InternalServerError", message)

/** What an old image says of a route that it does not know. */
export const invalidRoute = badRequest("Invalid route")

export const notFound = new EngineError(404, { detail: "Not Found" })
export const methodNotAllowed = new EngineError(405, { detail: "Method Not Allowed" })

export const dataFrame = (value: object): string => `data: ${JSON.stringify(value)}\n\n`

export const eventFrame = (value: { readonly type: string }): string => `event: ${value.type}\n${dataFrame(value)}`
