/** The receiver on each kind of server: what it answers, and what it keeps to itself. */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { assert, describe, it } from "@effect/vitest"
import {
  Config,
  ConfigProvider,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  LogLevel,
  Option,
  Redacted,
  Schema,
  Scope,
  Stream,
  TestClock,
  Tracer
} from "effect"
import { createServer, request as send } from "node:http"
import { connect } from "node:net"
import { inspect } from "node:util"
import { WebhookStoreError } from "../../src/errors/WebhookError.js"
import * as NodeWebhooks from "../../src/node/NodeWebhooks.js"
import * as WebhookStore from "../../src/layers/WebhookStore.js"
import * as Webhooks from "../../src/services/Webhooks.js"
import { freePort } from "../support/listening.js"

const secret = "correct-horse-battery-staple"
const body = (id: string, more: object = {}) => JSON.stringify({ id, status: "COMPLETED", output: id, ...more })

/** Where a receiver is, and what it stored. */
interface Receiver {
  readonly url: string
  readonly webhooks: Webhooks.Service
}

const settings = { secret, url: "https://app.example/hooks", bodyLimit: 1000, readTimeout: "300 millis" } as const

const webhooks = Webhooks.layerStore(settings)

const listening = (
  app: Layer.Layer<never, unknown, HttpServer.HttpServer | HttpRouter.HttpRouter.DefaultServices | Webhooks.Webhooks>
) =>
  Effect.gen(function* () {
    const server = NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" })
    const context = yield* Layer.build(app.pipe(Layer.provideMerge(Layer.merge(server, webhooks))))
    const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
    if (address._tag !== "TcpAddress") return yield* Effect.dieMessage("no port")
    return {
      url: `http://127.0.0.1:${address.port}/hooks`,
      webhooks: yield* Effect.provide(Webhooks.Webhooks, context)
    }
  })

const Api = HttpApi.make("api").add(
  HttpApiGroup.make("things").add(HttpApiEndpoint.get("hello", "/").addSuccess(Schema.String))
)

type Serve = Effect.Effect<Receiver, unknown, Scope.Scope | WebhookStore.WebhookStore>

const servers: ReadonlyArray<{ readonly name: string; readonly serve: Serve }> = [
  {
    name: "an HttpRouter",
    serve: listening(
      HttpRouter.empty.pipe(
        HttpRouter.get("/", HttpServerResponse.text("hello")),
        Webhooks.route("/hooks"),
        HttpServer.serve(HttpMiddleware.logger)
      )
    )
  },
  {
    name: "an HttpApi",
    serve: listening(
      HttpApiBuilder.serve(HttpMiddleware.logger).pipe(
        Layer.provide(HttpApiBuilder.api(Api)),
        Layer.provide(
          HttpApiBuilder.group(Api, "things", (group) => group.handle("hello", () => Effect.succeed("hello")))
        ),
        Layer.provide(Webhooks.layerRoute(HttpApiBuilder.Router, "/hooks"))
      )
    )
  },
  {
    name: "a server of its own",
    serve: Effect.gen(function* () {
      const context = yield* Layer.build(webhooks)
      const server = yield* Effect.provide(NodeWebhooks.serve({ host: "127.0.0.1", path: "/hooks" }), context)
      return { url: server.url, webhooks: yield* Effect.provide(Webhooks.Webhooks, context) }
    })
  },
  {
    name: "a fetch-style host",
    serve: Effect.gen(function* () {
      const context = yield* Layer.build(webhooks)
      const handler = yield* Effect.provide(Webhooks.webHandler, context)
      // A host of that style, in miniature.
      const server = createServer((request, response) => {
        const url = `http://host.example${request.url}`
        const method = request.method ?? "GET"
        const headers = new Headers(
          Object.entries(request.headers).map(([name, value]): [string, string] => [name, String(value)])
        )
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => {
            request.on("data", (chunk: Uint8Array) => controller.enqueue(chunk))
            request.on("end", () => controller.close())
            request.on("aborted", () => controller.error(new Error("aborted")))
          }
        })
        const init: RequestInit & { readonly duplex: "half" } = { method, headers, duplex: "half" }
        const hasBody = method !== "GET" && method !== "HEAD"
        void handler(new Request(url, hasBody ? { ...init, body } : init)).then(async (answer) => {
          response.writeHead(answer.status).end(await answer.text())
        })
      })
      yield* Effect.acquireRelease(
        Effect.async<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => server.close().closeAllConnections())
      )
      const address = server.address()
      const port = typeof address === "object" ? address?.port : undefined
      return { url: `http://127.0.0.1:${port}/hooks`, webhooks: yield* Effect.provide(Webhooks.Webhooks, context) }
    })
  }
]

/** Posts to a receiver, and gives the answer. */
const post = (
  url: string,
  text: string,
  options: { readonly method?: string; readonly headers?: Record<string, string> } = {}
) =>
  Effect.promise(async () => {
    const { headers = {}, method = "POST" } = options
    const init = method === "GET" || method === "HEAD" ? { method, headers } : { method, headers, body: text }
    const response = await fetch(url, init)
    return { status: response.status, text: await response.text() }
  })

/** What some servers do instead of an answer when nobody reads a body to its end. */
const closed = undefined

/** Sends a part of a body and then nothing more; the status of the answer, `undefined` when the connection is closed. */
const drip = (url: string, headers: Record<string, string>, part: string) =>
  Effect.async<number | undefined>((resume) => {
    const request = send(url, { method: "POST", headers }, (response) => {
      resume(Effect.succeed(response.statusCode))
      request.destroy()
    })
    request.on("error", () => resume(Effect.succeed(undefined)))
    request.write(part)
    return Effect.sync(() => request.destroy())
  })

const issueAt = ({ url, webhooks }: Receiver, key: string) =>
  Effect.map(webhooks.issue({ endpointId: "ep", key }), ({ search }) => `${url}${search}`)

const run = (effect: Effect.Effect<unknown, unknown, Scope.Scope | WebhookStore.WebhookStore>) =>
  Effect.provide(effect, WebhookStore.layerMemory())

describe.each(servers)("on $name", ({ serve }) => {
  it.scopedLive("a delivery is answered with 200 when it is stored, again when it comes again", () =>
    run(
      Effect.gen(function* () {
        const receiver = yield* serve
        const url = yield* issueAt(receiver, "k")
        assert.deepStrictEqual(yield* post(url, body("a")), { status: 200, text: "" })
        assert.deepStrictEqual(yield* post(url, body("a")), { status: 200, text: "" })
        const stored = yield* (yield* WebhookStore.WebhookStore).after(0, 10)
        assert.deepStrictEqual(
          stored.map(({ jobId, key }) => [jobId, key]),
          [["a", "k"]]
        )
      })
    )
  )

  it.scopedLive("what is refused gets a bare status", () =>
    run(
      Effect.gen(function* () {
        const receiver = yield* serve
        const url = yield* issueAt(receiver, "k")
        yield* post(url, body("a"))
        const answers = [
          yield* post(receiver.url, body("b")),
          yield* post(`${receiver.url}?token=v1.x`, body("b")),
          yield* post(`${url.slice(0, -1)}`, body("b")),
          yield* post(url, body("b")),
          yield* post(url, "{"),
          yield* post(url, "[]"),
          yield* post(url, body("a", { output: "x".repeat(2000) })),
          yield* post(url, "", { method: "GET" }),
          yield* post(url, body("a"), { method: "PUT" }),
          yield* post(url, body("a"), { method: "DELETE" })
        ]
        assert.deepStrictEqual(
          answers.map(({ status }) => status),
          [401, 401, 401, 401, 400, 400, 413, 405, 405, 405]
        )
        assert.isTrue(answers.every(({ text }) => text === ""))
        assert.strictEqual(yield* receiver.webhooks.latest, 1)
      })
    )
  )

  it.scopedLive("a body that is longer than it says, or says nothing, is cut off at the limit", () =>
    run(
      Effect.gen(function* () {
        const receiver = yield* serve
        const url = yield* issueAt(receiver, "k")
        const chunked = yield* drip(url, { "transfer-encoding": "chunked" }, "x".repeat(3000))
        assert.include([413, closed], chunked)
        assert.strictEqual(yield* drip(url, { "content-length": "3000" }, "x"), 413)
      })
    )
  )

  it.scopedLive("a body that does not end is waited for no longer than the read timeout", () =>
    run(
      Effect.gen(function* () {
        const receiver = yield* serve
        const url = yield* issueAt(receiver, "k")
        assert.include([408, closed], yield* drip(url, { "content-length": "500" }, "{"))
        // Without a token nobody waits at all.
        assert.strictEqual(yield* drip(receiver.url, { "content-length": "500" }, "{"), 401)
      })
    )
  )

  it.scopedLive("a store that fails is answered with 503, and the delivery is taken when it comes again", () =>
    Effect.gen(function* () {
      const memory = yield* WebhookStore.memory()
      let isDown = true
      const flaky: WebhookStore.Service = {
        ...memory,
        add: (delivery) =>
          isDown
            ? Effect.fail(new WebhookStoreError({ operation: "add", detail: "no space left on device" }))
            : memory.add(delivery)
      }
      const receiver = yield* Effect.provideService(serve, WebhookStore.WebhookStore, flaky)
      const url = yield* issueAt(receiver, "k")
      assert.deepStrictEqual(yield* post(url, body("a")), { status: 503, text: "" })
      isDown = false
      assert.deepStrictEqual(yield* post(url, body("a")), { status: 200, text: "" })
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None))
  )

  it.scopedLive("a store that is broken is answered with 503, too", () =>
    Effect.gen(function* () {
      const memory = yield* WebhookStore.memory()
      const broken: WebhookStore.Service = { ...memory, add: () => Effect.die(new Error("a bug")) }
      const receiver = yield* Effect.provideService(serve, WebhookStore.WebhookStore, broken)
      assert.strictEqual((yield* post(yield* issueAt(receiver, "k"), body("a"))).status, 503)
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None))
  )

  it.scopedLive("the token is in no log and no span, whatever the answer", () =>
    Effect.gen(function* () {
      const printed: Array<string> = []
      const spans: Array<Tracer.Span> = []
      const native = yield* Effect.tracer
      const tracer = Tracer.make({
        span: (...args) => {
          const span = native.span(...args)
          spans.push(span)
          return span
        },
        context: (f) => f()
      })
      const logger = Logger.make(({ annotations, cause, message }) => {
        printed.push(inspect([message, cause, [...annotations]], { depth: 10 }))
      })
      const watched = Layer.mergeAll(
        Logger.replace(Logger.defaultLogger, logger),
        Logger.minimumLogLevel(LogLevel.All),
        Layer.setTracer(tracer)
      )
      yield* Effect.gen(function* () {
        const receiver = yield* serve
        const url = yield* issueAt(receiver, "k")
        for (const text of [body("a"), body("b"), "{", body("a", { output: "x".repeat(2000) })]) yield* post(url, text)
        yield* post(url, "", { method: "GET" })
        yield* post(`${url}&also=this`, body("a"))
        const token = new URL(url).searchParams.get("token") ?? ""
        assert.isAbove(token.length, 20)
        for (const span of spans) printed.push(inspect([span.name, [...span.attributes], span.status], { depth: 10 }))
        assert.isNotEmpty(spans)
        for (const text of printed) assert.notInclude(text, token.slice(-20))
      }).pipe(run, Effect.provide(watched))
    })
  )
})

describe("an application that has routes of its own", () => {
  it.scopedLive("keeps them", () =>
    run(
      Effect.gen(function* () {
        for (const { serve } of servers.slice(0, 2)) {
          const { url } = yield* serve
          const answer = yield* post(url.replace("/hooks", "/"), "", { method: "GET" })
          assert.strictEqual(answer.status, 200)
        }
      }).pipe(Logger.withMinimumLogLevel(LogLevel.Warning))
    )
  )

  it.scopedLive("is tested without a server", () =>
    Effect.gen(function* () {
      const { issue, latest } = yield* Webhooks.Webhooks
      const handler = HttpApp.toWebHandlerRuntime(yield* Effect.runtime<Webhooks.Webhooks>())(
        HttpRouter.empty.pipe(Webhooks.route("/hooks"))
      )
      const url = yield* issue({ endpointId: "ep", key: "k" })
      const response = yield* Effect.promise(() => handler(new Request(url, { method: "POST", body: body("a") })))
      assert.strictEqual(response.status, 200)
      assert.strictEqual(yield* latest, 1)
    }).pipe(Effect.provide(Webhooks.layer(settings)))
  )
})

describe("a server of its own", () => {
  it.scopedLive("is one line: it issues URLs that it serves", () =>
    Effect.gen(function* () {
      const { events, issue } = yield* Webhooks.Webhooks
      const url = yield* issue({ endpointId: "ep", key: "k" })
      const first = yield* Effect.fork(Stream.runHead(events))
      yield* Effect.sleep(10)
      assert.strictEqual((yield* post(url.href, body("a"))).status, 200)
      assert.strictEqual(Option.getOrThrow(yield* Fiber.join(first)).job.id, "a")
      assert.strictEqual((yield* post(url.href.replace("/?", "/other?"), body("a"))).status, 404)
    }).pipe(Effect.provide(NodeWebhooks.layer({ secret: Redacted.make(secret), host: "127.0.0.1" })))
  )

  it.scopedLive("serves the path of its URL, unless a proxy in front says otherwise", () =>
    Effect.gen(function* () {
      const statusAt = (options: { readonly path?: string }, path: string) =>
        Effect.scoped(
          Effect.gen(function* () {
            const port = yield* freePort
            const url = "https://app.example/a/b"
            const layer = NodeWebhooks.layer({ secret, url, host: "127.0.0.1", port, ...options })
            const { issue } = yield* Effect.provide(Webhooks.Webhooks, yield* Layer.build(layer))
            const { search } = yield* issue({ endpointId: "ep", key: "k" })
            return (yield* post(`http://127.0.0.1:${port}${path}${search}`, body("a"))).status
          })
        )
      assert.strictEqual(yield* statusAt({}, "/a/b"), 200)
      assert.strictEqual(yield* statusAt({}, "/"), 404)
      assert.strictEqual(yield* statusAt({ path: "/" }, "/"), 200)
    })
  )

  it.scopedLive("its options come from Config: secret and URL by their names, the others where they are Configs", () =>
    Effect.gen(function* () {
      const issued = (layer: Layer.Layer<Webhooks.Webhooks, unknown>) =>
        Effect.flatMap(Webhooks.Webhooks, ({ issue }) => issue({ endpointId: "ep", key: "k" })).pipe(
          Effect.provide(layer)
        )
      const local = { host: "127.0.0.1" }
      const environment = new Map([
        ["RUNPOD_WEBHOOK_SECRET", secret],
        ["HOST", "127.0.0.1"],
        ["HOOKS", "/hooks"],
        ["OTHER", `${secret}2`]
      ])
      const configured = (more: Iterable<readonly [string, string]> = []) =>
        Effect.withConfigProvider(ConfigProvider.fromMap(new Map([...environment, ...more])))

      const own = yield* issued(
        NodeWebhooks.layerConfig({ host: Config.string("HOST"), path: Config.string("HOOKS"), port: 0 })
      ).pipe(configured())
      assert.match(own.href, /^http:\/\/127\.0\.0\.1:\d+\/hooks\?token=/)
      const publicUrl = "https://app.example/runpod"
      const fromVariable = yield* issued(NodeWebhooks.layerConfig(local)).pipe(
        configured([["RUNPOD_WEBHOOK_URL", publicUrl]])
      )
      assert.strictEqual(fromVariable.origin + fromVariable.pathname, publicUrl)
      const stored = NodeWebhooks.layerConfigStore({ ...local, secret: Config.redacted("OTHER"), url: publicUrl })
      const given = yield* issued(Layer.provide(stored, WebhookStore.layerMemory())).pipe(configured())
      const keyOf = ({ search }: URL) => search.split(".")[1]
      assert.notStrictEqual(keyOf(given), keyOf(fromVariable))
      for (const variables of [[], [["RUNPOD_WEBHOOK_SECRET", " "]] as const]) {
        const missing = yield* Effect.flip(issued(NodeWebhooks.layerConfig(local))).pipe(
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map(variables)))
        )
        assert.match(String(missing), /RUNPOD_WEBHOOK_SECRET is not set\. .*32 random bytes/)
      }
      const port = Config.integer("PORT")
      const wrong = yield* Effect.flip(issued(NodeWebhooks.layerConfig({ port }))).pipe(configured([["PORT", "many"]]))
      assert.notInclude(inspect(wrong, { depth: 9 }), secret)
      assert.include(String(wrong), "PORT")
    })
  )

  it.scopedLive("a taken port is a typed error that names it", () =>
    Effect.gen(function* () {
      const first = yield* NodeWebhooks.serve({ host: "127.0.0.1" })
      const port = Number(new URL(first.url).port)
      const error = yield* Effect.flip(NodeWebhooks.serve({ host: "127.0.0.1", port }))
      assert.strictEqual(error._tag, "WebhookSetupError")
      assert.include(error.message, `port ${port} (EADDRINUSE)`)
    }).pipe(Effect.provide(Webhooks.layer(settings)))
  )

  it.scopedLive(
    "shutting down finishes what has begun, takes nothing new, and does not wait for dawdlers for ever",
    () =>
      Effect.gen(function* () {
        const memory = yield* WebhookStore.memory()
        const isReached = yield* Deferred.make<void>()
        const slow: WebhookStore.Service = {
          ...memory,
          add: (delivery) =>
            Effect.zipRight(Deferred.succeed(isReached, undefined), Effect.delay(memory.add(delivery), "200 millis"))
        }
        const webhooks = yield* Effect.provideService(Webhooks.make(settings), WebhookStore.WebhookStore, slow)
        const scope = yield* Scope.make()
        const { url } = yield* NodeWebhooks.serve({ host: "127.0.0.1", path: "/hooks" }).pipe(
          Effect.provideService(Webhooks.Webhooks, webhooks),
          Scope.extend(scope)
        )
        const receiver: Receiver = { url, webhooks }
        const dawdler = yield* Effect.fork(drip(yield* issueAt(receiver, "d"), { "content-length": "500" }, "{"))
        yield* Effect.sleep("60 millis")
        const delivery = yield* Effect.fork(post(yield* issueAt(receiver, "a"), body("a")))
        yield* Deferred.await(isReached)
        const [took] = yield* Effect.timed(Scope.close(scope, Exit.void))
        assert.isBelow(Duration.toMillis(took), 2_000)
        assert.deepStrictEqual(yield* Fiber.join(delivery), { status: 200, text: "" })
        assert.strictEqual(yield* memory.latest, 1)
        assert.strictEqual(yield* Fiber.join(dawdler), 408)
        const refused = yield* Effect.either(Effect.tryPromise(() => fetch(url)))
        assert.strictEqual(refused._tag, "Left")
      })
  )

  it.scoped("a store that hangs does not hold up the end of the scope", () =>
    Effect.gen(function* () {
      const memory = yield* WebhookStore.memory()
      const isReached = yield* Deferred.make<void>()
      const hanging: WebhookStore.Service = {
        ...memory,
        add: () => Effect.zipRight(Deferred.succeed(isReached, undefined), Effect.never)
      }
      const webhooks = yield* Effect.provideService(
        Webhooks.make({ ...settings, secret }),
        WebhookStore.WebhookStore,
        hanging
      )
      const scope = yield* Scope.make()
      const { url } = yield* NodeWebhooks.serve({ host: "127.0.0.1", path: "/hooks" }).pipe(
        Effect.provideService(Webhooks.Webhooks, webhooks),
        Scope.extend(scope)
      )
      const target = yield* issueAt({ url, webhooks }, "a")
      const delivery = yield* Effect.fork(
        Effect.either(Effect.tryPromise(() => fetch(target, { method: "POST", body: body("a") })))
      )
      yield* Deferred.await(isReached)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.join(closing)
      assert.strictEqual((yield* Fiber.join(delivery))._tag, "Left")
    })
  )

  it.scopedLive(
    "a connection that sends no HTTP, or only half a header, is closed; one with a whole URL is not lost",
    () =>
      Effect.gen(function* () {
        const { url } = yield* NodeWebhooks.serve({ host: "127.0.0.1", path: "/hooks" })
        const say = (text: string) =>
          Effect.async<string>((resume) => {
            let heard = ""
            const socket = connect(Number(new URL(url).port), "127.0.0.1", () => socket.write(text))
            socket.on("data", (chunk: Buffer) => (heard += chunk.toString("latin1")))
            socket.on("close", () => resume(Effect.succeed(heard)))
            socket.on("error", () => {})
          })
        assert.match(yield* say("\u0016\u0003\u0001hello"), /^HTTP\/1\.1 400 /)
        assert.match(yield* say("POST /hooks HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n"), /^HTTP\/1\.1 400 /)
        assert.match(yield* say(`GET /${"x".repeat(20_000)} HTTP/1.1\r\n\r\n`), /^HTTP\/1\.1 4/)
        const whole =
          "POST http://app.example/hooks HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        assert.match(yield* say(whole), /^HTTP\/1\.1 401 /)
      }).pipe(Effect.provide(Webhooks.layer(settings)))
  )
})
