import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { Effect, Option } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"

export interface Reply {
  readonly status: number
  readonly type: string | undefined
  readonly text: string
  readonly retryAfter: string | undefined
}

/** One request to the emulator in memory, with a valid key unless `headers` say otherwise. */
export const send = (
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  body?: unknown,
  headers: Record<string, string> = { authorization: "Bearer key" }
) =>
  Effect.gen(function* () {
    const client = yield* HttpClient.HttpClient
    const text = typeof body === "string" ? body : JSON.stringify(body ?? {})
    const response = yield* client.execute(
      HttpClientRequest.make(method)(`https://anywhere.test${path}`, {
        headers,
        body: method === "GET" ? HttpBody.empty : HttpBody.text(text, "application/json")
      })
    )
    const reply: Reply = {
      status: response.status,
      type: response.headers["content-type"],
      text: yield* response.text,
      retryAfter: response.headers["retry-after"]
    }
    return reply
  })

export const get = (path: string) => send("GET", path)
export const post = (path: string, body?: unknown) => send("POST", path, body)

/** Submits a job and returns its id. */
export const submit = (endpointId: string, body: object = { input: { n: 1 } }) =>
  Effect.map(post(`/v2/${endpointId}/run`, body), ({ text }): string => JSON.parse(text).id)

/** The job as `/status` answers it. */
export const read = (endpointId: string, jobId: string) =>
  Effect.map(get(`/v2/${endpointId}/status/${jobId}`), ({ text }): Record<string, unknown> => JSON.parse(text))

/** The job as the control of the emulator knows it. */
export const look = (endpointId: string, jobId: string) =>
  Effect.gen(function* () {
    const emulator = yield* Emulator.Emulator
    return Option.getOrThrow(yield* emulator.job(endpointId, jobId))
  })
