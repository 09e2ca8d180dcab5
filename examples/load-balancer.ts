/**
 * A session with a worker of a load-balancing endpoint: what the worker keeps in memory is there for all requests of the session. When
 * the worker is gone, so is what it kept, and the session says so; a new one begins on another worker.
 */
import { HttpBody, HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { LoadBalancer } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { Console, Effect, Option } from "effect"

const documents = ["The sky is blue.", "The kettle broke.", "The lamp is fine."]

const program = Effect.gen(function* () {
  const balancer = yield* LoadBalancer.make("readers")

  const upload = (session: LoadBalancer.Session, text: string) =>
    session.post("/documents", { body: HttpBody.text(text, "text/plain") })
  const begin = Effect.gen(function* () {
    const session = yield* balancer.session()
    yield* Effect.forEach(documents, (text) => upload(session, text))
    const worker = Option.getOrThrow(yield* session.workerId)
    yield* Console.log(`worker ${worker} has ${yield* countOf(session)} documents`)
    return { session, worker }
  })

  const { session, worker } = yield* begin

  // Without a session a request goes to any worker, which knows nothing of them.
  const others = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => countOf(balancer), { concurrency: "unbounded" })
  yield* Console.log(`without a session: ${others.join(", ")}`)

  const emulator = yield* Emulator.Emulator
  yield* emulator.killWorker("readers", worker)

  yield* countOf(session).pipe(
    Effect.catchTag("WorkerGoneError", (error) =>
      Effect.zipRight(Console.log(`${error._tag}: ${error.message}`), begin)
    )
  )
})

const countOf = (client: LoadBalancer.LoadBalancer | LoadBalancer.Session) =>
  Effect.flatMap(client.get("/count"), (answer) => answer.text)

/** The server that runs on each worker. */
const app = () => {
  const kept: Array<string> = []
  return HttpRouter.empty.pipe(
    HttpRouter.post(
      "/documents",
      Effect.gen(function* () {
        const request = yield* HttpServerRequest.HttpServerRequest
        kept.push(yield* request.text)
        return HttpServerResponse.empty({ status: 201 })
      })
    ),
    HttpRouter.get(
      "/count",
      Effect.sync(() => HttpServerResponse.text(`${kept.length}`)).pipe(Effect.delay("50 millis"))
    )
  )
}

const layer = Emulator.layerRunPod({
  endpoints: {},
  loadBalancers: { readers: { app, workers: { min: 2, max: 2 }, coldStart: "200 millis", concurrency: 2 } }
})

program.pipe(Effect.provide(layer), NodeRuntime.runMain)
