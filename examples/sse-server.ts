/**
 * A web service that passes the tokens of a language model on to browsers, as server-sent events. When a browser leaves, the job is
 * cancelled: nobody pays for an answer that nobody reads. `PORT=8080 npx tsx examples/sse-server.ts` serves a page; without PORT the
 * example is its own browser, which leaves after three tokens.
 */
import { LanguageModel } from "@effect/ai"
import {
  FetchHttpClient,
  HttpClient,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerResponse
} from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Endpoint } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { RunPodLanguageModel } from "effect-runpod-ai"
import { Config, Console, Effect, Layer, Option, Queue, Schema, Stream } from "effect"
import { createServer } from "node:http"
import { endpointId, modelName, runPodOrEmulator } from "./support/runpod.js"

const page = `<!doctype html><title>Ask</title><form><input name="question" size="60"></form><p id="answer"></p><script>
const question = new URLSearchParams(location.search).get("question")
const events = new EventSource("/answer?" + new URLSearchParams({ question: question ?? "Why is the sky blue?" }))
const show = (text) => document.querySelector("#answer").append(text)
events.addEventListener("token", (event) => show(JSON.parse(event.data)))
// An event source that is not closed connects again, and asks a second time.
events.addEventListener("end", () => events.close())
events.onerror = () => events.close()
events.addEventListener("failure", (event) => (events.close(), show(JSON.parse(event.data))))
</script>`

/** Line breaks inside of `data` are those of JSON. */
const event = (name: string, data: unknown): string => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

const router = HttpRouter.empty.pipe(
  HttpRouter.get("/", HttpServerResponse.html(page)),
  HttpRouter.get(
    "/answer",
    Effect.gen(function* () {
      const { question } = yield* HttpServerRequest.schemaSearchParams(Schema.Struct({ question: Schema.String }))
      const model = yield* LanguageModel.LanguageModel
      const events = model.streamText({ prompt: question }).pipe(
        Stream.filterMap((part) =>
          part.type === "text-delta" ? Option.some(event("token", part.delta)) : Option.none()
        ),
        Stream.concat(Stream.make(event("end", null))),
        // The status 200 has gone out. What went wrong is for the log, not for strangers.
        Stream.catchAll((error) =>
          Stream.fromEffect(Effect.as(Effect.logError(error), event("failure", "Please try again later.")))
        )
      )
      return HttpServerResponse.stream(Stream.encodeText(events), {
        contentType: "text/event-stream",
        headers: { "cache-control": "no-store" }
      })
    })
  )
)

/** A browser that leaves after three events. */
const browser = Effect.gen(function* () {
  const { address } = yield* HttpServer.HttpServer
  const client = yield* HttpClient.HttpClient
  const response = yield* client.get(`${HttpServer.formatAddress(address)}/answer?question=Why`)
  yield* response.stream.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.filter((line) => line.startsWith("data: ")),
    Stream.take(3),
    Stream.runForEach((line) => Console.log(line))
  )
  yield* Console.log("the browser is gone")
})

const program = Effect.gen(function* () {
  const jobs = yield* Queue.unbounded<string>()
  const model = RunPodLanguageModel.layer({
    endpoint: yield* endpointId,
    model: yield* modelName,
    // The job can be cancelled. What RunPod does with a request to its OpenAI route whose client is gone, nobody knows.
    via: "job",
    job: { timeout: "5 minutes", onJob: ({ id }) => Queue.offer(jobs, id) }
  })
  yield* router.pipe(HttpServer.serveEffect(), Effect.provide(model))
  yield* HttpServer.addressFormattedWith((address) => Console.log(`serving ${address}`))
  if (Option.isSome(yield* port)) return yield* Effect.never

  yield* browser
  const endpoint = yield* Endpoint.make(yield* endpointId, { input: Schema.Object, output: Schema.Unknown })
  const ended = yield* endpoint.attach(yield* jobs).settle()
  yield* Console.log(`its job is ${ended.status}`)
}).pipe(Effect.scoped)

const port = Config.option(Config.port("PORT"))

const server = Layer.unwrapEffect(
  Effect.map(port, (port) =>
    NodeHttpServer.layer(createServer, { port: Option.getOrElse(port, () => 0), host: "127.0.0.1" })
  )
)

const runPod = runPodOrEmulator({
  handler: Emulator.handler.vllm({
    reply: () => "Air scatters blue light more than red, so blue reaches your eyes from everywhere.",
    perToken: "200 millis"
  })
})

program.pipe(Effect.provide(Layer.mergeAll(runPod, server, FetchHttpClient.layer)), NodeRuntime.runMain)
