import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { isJsonObject, type JsonObject } from "../../../internal/text/json.js"
import type { Handler } from "../../contract.js"
import type { VllmOptions } from "../../vllm.js"
import type { Answer, Engine } from "./engine.js"
import { Broken, type EngineError } from "./messages.js"

interface Proxied {
  readonly route: string
  readonly method: string
  readonly body: JsonObject | undefined
}

const noInput = "Job input must contain one of: openai_input (+openai_route), route (+body), or prompt/messages."

const isFilled = (value: unknown): value is JsonObject => isJsonObject(value) && Object.keys(value).length > 0

const legacy = (input: JsonObject): Proxied | undefined => {
  const { messages, prompt, sampling_params: sampling } = input
  const body = { ...(isJsonObject(sampling) ? sampling : {}), stream: input["stream"] === true }
  if (messages !== undefined && messages !== null) {
    return { route: "/v1/chat/completions", method: "POST", body: { ...body, messages } }
  }
  return prompt === undefined || prompt === null
    ? undefined
    : { route: "/v1/completions", method: "POST", body: { ...body, prompt } }
}

const textIn = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined)

/** What the worker asks vLLM for, of all forms of a job's input that it takes. */
const proxiedOf = (input: JsonObject): Proxied | undefined => {
  const openAiRoute = textIn(input["openai_route"])
  const openAiInput = input["openai_input"]
  if (isFilled(openAiInput)) {
    return { route: openAiRoute ?? "/v1/chat/completions", method: "POST", body: openAiInput }
  }
  if (openAiRoute !== undefined) return { route: openAiRoute, method: "GET", body: undefined }
  const route = textIn(input["route"])
  if (route === undefined) return legacy(input)
  const body = isFilled(input["body"]) ? input["body"] : undefined
  const method = textIn(input["method"]) ?? (body === undefined ? "GET" : "POST")
  return { route, method: method.toUpperCase(), body }
}

const workerError = (message: string) => ({ error: { message, type: "worker_error", code: null } })

/** What is wrong, as an ordinary yield: of an old image vLLM's own error, of a new one its text. */
const errorOf = (error: EngineError | Broken, isOld: boolean): object => {
  if (error instanceof Broken) return workerError(error.message)
  return isOld ? error.body : workerError(`vLLM returned HTTP ${error.status}: ${JSON.stringify(error.body)}`)
}

/** Each piece as text, decoded by itself: what is left of a character that was cut is replaced. */
const textOf = (bytes: Uint8Array): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)

const yieldsOf = (answer: Answer): Stream.Stream<unknown, Broken> =>
  answer._tag === "Body" ? Stream.succeed(answer.body) : Stream.map(answer.pieces, textOf)

/** The handler of `worker-vllm`, in front of an engine. */
export const makeHandler =
  (engine: Engine, { image }: VllmOptions): Handler =>
  (input) => {
    const proxied = proxiedOf(input)
    if (proxied === undefined) return Stream.succeed(workerError(noInput))
    const { body, method, route } = proxied
    return Stream.unwrap(Effect.map(engine.answer(route, method, body), yieldsOf)).pipe(
      Stream.catchAll((error) => Stream.succeed(errorOf(error, image === "old")))
    )
  }
