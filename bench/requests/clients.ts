/**
 * Who is compared. To add a client: one entry here, which makes a function for each operation.
 */
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { RateLimits, RetryPolicy, RunPod } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { type Context, Effect, Layer, ManagedRuntime, Schema } from "effect"
import runpodSdk from "runpod-sdk"
import { Agent, request } from "undici"
import { input, jobIds } from "./bodies.js"
import type { BaseUrls } from "./server.js"

export interface Client {
  readonly status: (jobId: string) => Promise<unknown>
  readonly run: () => Promise<unknown>
}

/** A client that takes all requests of a round at once, instead of one by one from loops of promises. */
export interface BatchClient {
  readonly sendAll: (kind: Kind, requests: number, concurrency: number) => Promise<unknown>
}

/** What is sent: submits, or reads of a job whose answer has this size. */
export const kinds = ["status, 200 B", "status, 1.5 KB", "run"] as const
export type Kind = (typeof kinds)[number]

/** The job that a read asks for; `undefined` for submits. */
export const jobIdOf = (kind: Kind): string | undefined => {
  switch (kind) {
    case "status, 200 B":
      return jobIds["200 B"]
    case "status, 1.5 KB":
      return jobIds["1.5 KB"]
    case "run":
      return undefined
  }
}

const endpointId = "bench"
const apiKey = "rpa_BENCHMARK"
const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }

const undici = ({ plain: baseUrl }: BaseUrls): Client => {
  const dispatcher = new Agent({ connections: null })
  const send = async (url: string, options: { method?: "POST"; body?: string }) => {
    const { body } = await request(url, { dispatcher, headers, ...options })
    return body.json()
  }
  return {
    status: (jobId) => send(`${baseUrl}/${endpointId}/status/${jobId}`, {}),
    run: () => send(`${baseUrl}/${endpointId}/run`, { method: "POST", body: JSON.stringify({ input }) })
  }
}

const globalFetch = ({ plain: baseUrl }: BaseUrls): Client => {
  const send = async (url: string, options: { method?: "POST"; body?: string }) => {
    const response = await fetch(url, { headers, ...options })
    return response.json()
  }
  return {
    status: (jobId) => send(`${baseUrl}/${endpointId}/status/${jobId}`, {}),
    run: () => send(`${baseUrl}/${endpointId}/run`, { method: "POST", body: JSON.stringify({ input }) })
  }
}

const sdk = ({ plain: baseUrl }: BaseUrls): Client => {
  const endpoint = runpodSdk(apiKey, { baseUrl }).endpoint(endpointId)
  if (endpoint === null) throw new Error("runpod-sdk made no endpoint")
  return { status: (jobId) => endpoint.status(jobId), run: () => endpoint.run({ input }) }
}

const Job = Schema.Struct({
  id: Schema.String,
  status: Schema.String,
  delayTime: Schema.optional(Schema.Number),
  executionTime: Schema.optional(Schema.Number),
  workerId: Schema.optional(Schema.String),
  output: Schema.optional(Schema.Unknown)
})

const platform =
  (layer: Layer.Layer<HttpClient.HttpClient>) =>
  ({ plain: baseUrl }: BaseUrls): Client => {
    const runtime = ManagedRuntime.make(layer)
    const client = runtime.runSync(HttpClient.HttpClient).pipe(
      HttpClient.filterStatusOk,
      HttpClient.mapRequest((request) =>
        request.pipe(HttpClientRequest.prependUrl(`${baseUrl}/${endpointId}`), HttpClientRequest.bearerToken(apiKey))
      )
    )
    const decode = <E>(response: Effect.Effect<HttpClientResponse.HttpClientResponse, E>) =>
      Effect.flatMap(response, HttpClientResponse.schemaBodyJson(Job))
    return {
      status: (jobId) => runtime.runPromise(decode(client.get(`/status/${jobId}`))),
      run: () =>
        runtime.runPromise(
          decode(Effect.flatMap(HttpClientRequest.bodyJson(HttpClientRequest.post("/run"), { input }), client.execute))
        )
    }
  }

/** Limits that are kept but never reached. */
const wide = { limit: 1e9, window: "10 seconds", concurrency: 1e6 } as const
const limits = RateLimits.make({ status: wide, run: wide })

const ours =
  (
    options: Partial<NodeRunPod.Options> = {},
    around: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E> = (e) => e
  ) =>
  ({ plain: baseUrl }: BaseUrls): Client => {
    const runtime = ManagedRuntime.make(NodeRunPod.layer({ apiKey, baseUrl, limits, ...options }))
    const service: Context.Tag.Service<RunPod.RunPod> = runtime.runSync(RunPod.RunPod)
    return {
      status: (jobId) => runtime.runPromise(around(service.status(endpointId, jobId))),
      run: () => runtime.runPromise(around(service.run(endpointId, { input })))
    }
  }

/** Ours as programs use it: one `Effect.forEach` over all requests. */
const oursForEach =
  () =>
  ({ plain: baseUrl }: BaseUrls): BatchClient => {
    const runtime = ManagedRuntime.make(NodeRunPod.layer({ apiKey, baseUrl, limits }))
    const service = runtime.runSync(RunPod.RunPod)
    return {
      sendAll: (kind, requests, concurrency) => {
        const jobId = jobIdOf(kind)
        return runtime.runPromise(
          Effect.forEach(
            Array.from({ length: requests }),
            () => (jobId === undefined ? service.run(endpointId, { input }) : service.status(endpointId, jobId)),
            { concurrency, discard: true }
          )
        )
      }
    }
  }

/** Stock transports under our pipeline, to see what the lean one saves. */
const oursOver =
  (layer: Layer.Layer<HttpClient.HttpClient>) =>
  ({ plain: baseUrl }: BaseUrls): Client => {
    const runtime = ManagedRuntime.make(Layer.provide(RunPod.layer({ apiKey, baseUrl, limits }), layer))
    const service = runtime.runSync(RunPod.RunPod)
    return {
      status: (jobId) => runtime.runPromise(service.status(endpointId, jobId)),
      run: () => runtime.runPromise(service.run(endpointId, { input }))
    }
  }

export const clients: { readonly [name: string]: (urls: BaseUrls) => Client | BatchClient } = {
  undici,
  fetch: globalFetch,
  "runpod-sdk": sdk,
  "@effect/platform (undici)": platform(NodeHttpClient.layerUndici),
  "@effect/platform (fetch)": platform(FetchHttpClient.layer),
  "effect-runpod": ours(),
  "effect-runpod, one forEach": oursForEach()
}

/** Ours with parts left out: what each part costs. */
export const variants: { readonly [name: string]: (urls: BaseUrls) => Client } = {
  "effect-runpod, no limits": ours({ limits: RateLimits.unlimited }),
  "effect-runpod, no retry": ours({ retry: RetryPolicy.none }),
  "effect-runpod, no spans": ours({}, Effect.withTracerEnabled(false)),
  "effect-runpod, transformClient": ours({ transformClient: HttpClient.tapRequest(() => Effect.void) }),
  "effect-runpod over TLS": (urls) => ours()({ ...urls, plain: urls.tls }),
  "effect-runpod over TLS, HTTP/2": (urls) => ours({ http2: true })({ ...urls, plain: urls.tls }),
  "effect-runpod over stock undici": oursOver(NodeHttpClient.layerUndici)
}
