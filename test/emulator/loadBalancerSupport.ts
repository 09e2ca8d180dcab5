import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type { HttpMethod } from "@effect/platform/HttpMethod"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { Effect } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"

export const emulated = (balancer: Emulator.LoadBalancerOptions, options?: Partial<Emulator.Options>) =>
  Effect.provide(Emulator.layer({ endpoints: { queue: {} }, ...options, loadBalancers: { lb: balancer } }))

interface Ask {
  readonly method?: HttpMethod
  readonly headers?: Record<string, string>
  readonly body?: string | Uint8Array
}

export const open = (path: string, { body, headers, method = "GET" }: Ask = {}) =>
  Effect.flatMap(HttpClient.HttpClient, (client) =>
    client.execute(
      HttpClientRequest.make(method)(path.startsWith("/") ? `https://lb.api.runpod.ai${path}` : path, {
        headers: { authorization: "Bearer key", ...headers },
        body:
          body === undefined
            ? HttpBody.empty
            : typeof body === "string"
              ? HttpBody.text(body, headers?.["content-type"])
              : HttpBody.uint8Array(body)
      })
    )
  )

export const ask = (path: string, of: Ask = {}) =>
  Effect.gen(function* () {
    const response = yield* open(path, of)
    const text = yield* response.text
    return { status: response.status, headers: response.headers, worker: response.headers["x-runpod-worker-id"], text }
  })

export const withWorker = (header: string, path = "/"): ReturnType<typeof ask> =>
  ask(path, { headers: { "x-runpod-worker-id": header } })

export const text = (body: string) => HttpServerResponse.text(body)
export const hello: Emulator.App = Effect.succeed(text("hello"))
export const slow = (time: string): Emulator.App => Effect.delay(hello, time as `${number} seconds`)
