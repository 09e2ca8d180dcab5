/**
 * Webhooks inside an application that has an `HttpRouter` already. It takes orders over HTTP, answers at once, and has the
 * pictures when their webhooks have come.
 */
import {
  FetchHttpClient,
  HttpClient,
  HttpClientRequest,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerResponse
} from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Endpoint, RunPod, Webhooks } from "effect-runpod"
import { Console, Effect, Layer, Schedule, Schema, Stream } from "effect"
import { createServer } from "node:http"
import { endpointId, runPodOrEmulator } from "./support/runpod.js"
import { webhookSecret, webhookUrl } from "./support/webhooks.js"

const Order = Schema.Struct({ prompt: Schema.String })

const router = Effect.gen(function* () {
  const runPod = yield* RunPod.RunPod
  const webhooks = yield* Webhooks.Webhooks
  const pictures = new Map<string, unknown>()
  const id = yield* endpointId
  const endpoint = yield* Endpoint.make(id, { input: Order, output: Schema.Unknown })

  // A delivery is a hint: RunPod is asked before it is believed.
  yield* webhooks.events.pipe(
    Stream.mapEffect(({ job }) => runPod.status(id, job.id)),
    Stream.runForEach((job) => Effect.sync(() => pictures.set(job.id, job.output))),
    Effect.forkScoped
  )

  return HttpRouter.empty.pipe(
    HttpRouter.post(
      "/orders",
      Effect.gen(function* () {
        const order = yield* HttpServerRequest.schemaBodyJson(Order)
        const job = yield* endpoint.run(order, { webhook: true })
        return yield* HttpServerResponse.json({ id: job.id }, { status: 202 })
      })
    ),
    HttpRouter.get(
      "/pictures/:id",
      Effect.gen(function* () {
        const { id = "" } = yield* HttpRouter.params
        const picture = pictures.get(id)
        return picture === undefined
          ? HttpServerResponse.empty({ status: 404 })
          : yield* HttpServerResponse.json(picture)
      })
    ),
    // This line is all the application needs for its webhooks.
    Webhooks.route("/hooks/runpod")
  )
})

const application = Layer.scopedDiscard(Effect.flatMap(router, HttpServer.serveEffect()))

const server = NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" })

const webhooks = Layer.unwrapEffect(
  Effect.gen(function* () {
    const { address } = yield* HttpServer.HttpServer
    const url = yield* webhookUrl(`${HttpServer.formatAddress(address)}/hooks/runpod`)
    return Webhooks.layer({ secret: yield* webhookSecret, url })
  })
)

// Without RunPod: a worker that takes half a second. The emulator posts its webhooks with fetch, as RunPod would.
const runPod = runPodOrEmulator({
  handler: ({ prompt }) => Effect.delay(Effect.succeed({ text: `drew ${prompt}` }), "500 millis")
}).pipe(Layer.provide(FetchHttpClient.layer))

/** A customer of the application. */
const customer = Effect.gen(function* () {
  const { address } = yield* HttpServer.HttpServer
  const client = (yield* HttpClient.HttpClient).pipe(
    HttpClient.mapRequest(HttpClientRequest.prependUrl(HttpServer.formatAddress(address))),
    HttpClient.filterStatusOk
  )
  const order = HttpClientRequest.post("/orders").pipe(HttpClientRequest.bodyUnsafeJson({ prompt: "a red bicycle" }))
  const ordered = yield* client.execute(order)
  const { id } = yield* Effect.flatMap(ordered.json, Schema.decodeUnknown(Schema.Struct({ id: Schema.String })))
  yield* Console.log(`ordered ${id}`)
  const picture = yield* client
    .get(`/pictures/${id}`)
    .pipe(Effect.retry(Schedule.spaced("200 millis").pipe(Schedule.upTo("10 minutes"))))
  yield* Console.log("picture:", yield* picture.json)
})

customer.pipe(
  Effect.provide(application.pipe(Layer.provideMerge(Layer.merge(webhooks, runPod)), Layer.provideMerge(server))),
  Effect.provide(FetchHttpClient.layer),
  NodeRuntime.runMain
)
