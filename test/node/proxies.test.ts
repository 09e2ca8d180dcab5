import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Redacted } from "effect"
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import * as Http from "node:http"
import * as Http2 from "node:http2"
import { fileURLToPath } from "node:url"
import { inspect } from "node:util"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import { RunPod } from "../../src/services/RunPod.js"
import { program } from "../support/program.js"
import { proxyServer } from "../support/proxyServer.js"
import { listening } from "../support/listening.js"

const job = JSON.stringify({ id: "a", status: "IN_QUEUE" })

/** A server behind the proxies, and what it was asked for. */
const target = Effect.gen(function* () {
  const asked: Array<string> = []
  const server = Http.createServer((request, response) => {
    asked.push(request.url ?? "")
    request.resume()
    response.end(job)
  })
  return { port: yield* listening(server), asked }
})

type Environment = Readonly<Record<string, string>>

const ask = <A, E>(
  baseUrl: string,
  environment: Environment,
  use: (runpod: typeof RunPod.Service) => Effect.Effect<A, E>,
  options: Partial<NodeRunPod.Options> = {}
) =>
  Effect.flatMap(RunPod, use).pipe(
    Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl, retry: RetryPolicy.none, ...options })),
    Effect.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(environment)))))
  )

const read = (runpod: typeof RunPod.Service) => Effect.asVoid(runpod.status("ep", "a"))
const submit = (runpod: typeof RunPod.Service) => Effect.asVoid(runpod.run("ep", { input: { n: 1 } }))

describe("NodeRunPod and proxies", () => {
  it.scopedLive("requests go through HTTP_PROXY with its user and password, held ones on tunnels of their own", () =>
    Effect.gen(function* () {
      const { asked, port } = yield* target
      const proxy = yield* proxyServer("Open", "user:p@ss")
      yield* ask(
        `http://runpod.test:${port}/v2`,
        { HTTP_PROXY: `http://user:p%40ss@127.0.0.1:${proxy.port}` },
        (runpod) => Effect.repeatN(Effect.zip(submit(runpod), runpod.statusSync("ep", "a", { wait: 1000 })), 2)
      )
      assert.deepStrictEqual(proxy.asked, Array(2).fill(`runpod.test:${port} user:p@ss`))
      assert.sameMembers(asked, [
        ...Array<string>(3).fill("/v2/ep/run"),
        ...Array<string>(3).fill("/v2/ep/status-sync/a?wait=1000")
      ])
    })
  )

  it.scopedLive("a name in lower case goes first, the scheme may be missing, and HTTPS_PROXY is not for http", () =>
    Effect.gen(function* () {
      const { asked, port } = yield* target
      const [proxy, upper] = [yield* proxyServer(), yield* proxyServer()]
      yield* ask(
        `http://runpod.test:${port}`,
        { http_proxy: `127.0.0.1:${proxy.port}`, HTTP_PROXY: `http://127.0.0.1:${upper.port}` },
        read
      )
      yield* ask(`http://127.0.0.1:${port}`, { HTTPS_PROXY: `http://127.0.0.1:${upper.port}` }, read)
      assert.deepStrictEqual(proxy.asked, [`runpod.test:${port}`])
      assert.deepStrictEqual(upper.asked, [])
      assert.lengthOf(asked, 2)
    })
  )

  const without: ReadonlyArray<readonly [string, Environment, NodeRunPod.Options["proxy"]]> = [
    ["hosts of NO_PROXY are", { NO_PROXY: "example.com, 127.0.0.1" }, undefined],
    ["hosts of no_proxy are", { no_proxy: "*" }, undefined],
    ["with `proxy: false` all hosts are", {}, false]
  ]
  for (const [name, environment, proxyOption] of without) {
    it.scopedLive(`${name} reached without the proxy`, () =>
      Effect.gen(function* () {
        const { asked, port } = yield* target
        const proxy = yield* proxyServer()
        const variables = { HTTP_PROXY: `http://127.0.0.1:${proxy.port}`, ...environment }
        yield* ask(`http://127.0.0.1:${port}`, variables, read, { proxy: proxyOption })
        assert.deepStrictEqual(proxy.asked, [])
        assert.lengthOf(asked, 1)
      })
    )
  }

  it.scopedLive("a proxy that is given goes before the environment, NO_PROXY included", () =>
    Effect.gen(function* () {
      const { port } = yield* target
      const [given, other] = [yield* proxyServer(), yield* proxyServer()]
      const variables = { HTTP_PROXY: `http://127.0.0.1:${other.port}`, NO_PROXY: "*" }
      for (const proxy of [
        `http://127.0.0.1:${given.port}`,
        new URL(`http://127.0.0.1:${given.port}`),
        Redacted.make(`http://127.0.0.1:${given.port}`)
      ]) {
        yield* ask(`http://runpod.test:${port}`, variables, read, { proxy })
      }
      assert.deepStrictEqual(given.asked, Array(3).fill(`runpod.test:${port}`))
      assert.deepStrictEqual(other.asked, [])
    })
  )

  const paths: Readonly<Record<string, Partial<NodeRunPod.Options>>> = {
    "on the wire": {},
    "through transformClient": { transformClient: (client) => client }
  }
  for (const [path, options] of Object.entries(paths)) {
    const failing = (proxyUrl: string, port: number, more: Partial<NodeRunPod.Options> = {}) =>
      Effect.flip(ask(`http://runpod.test:${port}`, { HTTP_PROXY: proxyUrl }, submit, { ...options, ...more }))

    const secret = "s3cretProxyPass"

    it.scopedLive(`${path}, a submit that no tunnel was opened for was not sent, and no error tells the password`, () =>
      Effect.gen(function* () {
        const { asked, port } = yield* target
        for (const behaviour of [502, 407, 403] as const) {
          const proxy = yield* proxyServer(behaviour)
          const error = yield* failing(`http://user:${secret}@127.0.0.1:${proxy.port}`, port)
          assert.strictEqual(error._tag === "TransportError" && error.sent, "No", `${behaviour}`)
          assert.include(inspect(error, { depth: 9 }), `${behaviour}`)
          assert.notInclude(inspect(error, { depth: 9, showHidden: true }), secret)
        }
        const dead = yield* failing(`http://user:${secret}@127.0.0.1:1`, port)
        assert.strictEqual(dead._tag === "TransportError" && dead.sent, "No")
        assert.notInclude(inspect(dead, { depth: 9, showHidden: true }), secret)
        assert.deepStrictEqual(asked, [])
      })
    )

    it.scopedLive(`${path}, a submit whose proxy says nothing was not sent`, () =>
      Effect.gen(function* () {
        const { port } = yield* target
        const proxy = yield* proxyServer("Silent")
        const error = yield* failing(`http://127.0.0.1:${proxy.port}`, port, { requestTimeout: "200 millis" })
        assert.strictEqual(error._tag === "RequestTimeoutError" && error.sent, "No")
      })
    )

    it.scopedLive(`${path}, a submit whose tunnel breaks after it was written is ambiguous`, () =>
      Effect.gen(function* () {
        const port = yield* listening(Http.createServer((request) => request.socket.resetAndDestroy()))
        const proxy = yield* proxyServer()
        const error = yield* failing(`http://127.0.0.1:${proxy.port}`, port)
        assert.strictEqual(error._tag, "SubmitAmbiguousError")
      })
    )

    for (const wrong of [
      `http://user:${secret}%@127.0.0.1:1`,
      `socks5://user:${secret}@127.0.0.1:1`,
      `http://[${secret}`
    ]) {
      it.scopedLive(`${path}, ${wrong.replace(secret, "…")} is no proxy, and nothing is sent past it`, () =>
        Effect.gen(function* () {
          const { asked, port } = yield* target
          const error = yield* failing(wrong, port)
          assert.strictEqual(error._tag === "TransportError" && error.sent, "No")
          assert.include(inspect(error, { depth: 9 }), "HTTP_PROXY must be")
          assert.notInclude(inspect(error, { depth: 9, showHidden: true }), secret)
          assert.deepStrictEqual(asked, [])
        })
      )
    }
  }

  const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url)

  /** An HTTPS server whose certificate only the child process trusts. */
  const secureTarget = Effect.gen(function* () {
    const versions: Array<string> = []
    const server = Http2.createSecureServer(
      { key: readFileSync(fixture("localhost.key")), cert: readFileSync(fixture("localhost.crt")), allowHTTP1: true },
      (request, response) => {
        versions.push(request.httpVersion)
        response.end(job)
      }
    )
    return { port: yield* listening(server), versions }
  })

  const child = (args: ReadonlyArray<string>, environment: Environment) =>
    Effect.async<string, Error>((resume) => {
      execFile(
        process.execPath,
        [program("proxyClient"), ...args],
        { env: { ...environment, NODE_EXTRA_CA_CERTS: fileURLToPath(fixture("localhost.crt")) } },
        (error, stdout) => resume(error === null ? Effect.succeed(stdout) : Effect.fail(error))
      )
    })

  it.scopedLive("in a process's environment, HTTPS_PROXY is the proxy of https, also for HTTP/2", () =>
    Effect.gen(function* () {
      const { port, versions } = yield* secureTarget
      const [proxy, refusing] = [yield* proxyServer("Open", "user:secret"), yield* proxyServer("Open", "other:secret")]
      const url = `https://localhost:${port}/v2`
      const environment = {
        HTTPS_PROXY: `http://user:secret@127.0.0.1:${proxy.port}`,
        HTTP_PROXY: "http://127.0.0.1:1"
      }
      assert.strictEqual(yield* child([url], environment), "IN_QUEUE")
      assert.strictEqual(yield* child([url, "http2"], environment), "IN_QUEUE")
      assert.deepStrictEqual(proxy.asked, Array(2).fill(`localhost:${port} user:secret`))
      assert.deepStrictEqual(versions, ["1.1", "2.0"])
      const dead = { HTTPS_PROXY: "http://127.0.0.1:1" }
      const [refused, unreachable, past] = yield* Effect.all(
        [
          child([url], { HTTPS_PROXY: `http://user:s3cret@127.0.0.1:${refusing.port}` }),
          child([url], dead),
          child([url], { ...dead, NO_PROXY: "localhost" })
        ],
        { concurrency: "unbounded" }
      )
      assert.include(refused, "407")
      assert.notInclude(refused, "s3cret")
      assert.include(unreachable, "ECONNREFUSED")
      assert.strictEqual(past, "IN_QUEUE")
    })
  )
})
