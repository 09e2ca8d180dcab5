import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  Config,
  ConfigProvider,
  Effect,
  Exit,
  Fiber,
  Layer,
  Option,
  Redacted,
  Stream,
  TestClock,
  Tracer
} from "effect"
import { createHmac } from "node:crypto"
import { inspect } from "node:util"
import * as WebhookError from "../../src/errors/WebhookError.js"
import * as WebhookStore from "../../src/layers/WebhookStore.js"
import * as Webhooks from "../../src/services/Webhooks.js"

const secret = "correct-horse-battery-staple"
const base = "https://app.example/hooks/runpod"
const provide = (options: Partial<Webhooks.BaseOptions> & Partial<Webhooks.Secrets> = {}) =>
  Effect.provide(
    Webhooks.layerStore({ url: base, secret, ...options } as Webhooks.Options).pipe(
      Layer.provideMerge(WebhookStore.layerMemory())
    )
  )

const body = (fields: object = {}) =>
  JSON.stringify({ delayTime: 10, executionTime: 20, id: "job-1", output: { n: 1 }, status: "COMPLETED", ...fields })

const issue = (fields: Partial<Webhooks.Issue> = {}) =>
  Effect.flatMap(Webhooks.Webhooks, (webhooks) => webhooks.issue({ endpointId: "ep", key: "key-1", ...fields }))

const receive = (incoming: Webhooks.Incoming) =>
  Effect.flatMap(Webhooks.Webhooks, (webhooks) => webhooks.receive(incoming))

const refused = (incoming: Webhooks.Incoming) => Effect.flip(receive(incoming))

/** The URL with another token, made of this one's. */
const withToken = (url: URL, change: (token: string) => string): string => {
  const token = url.search.slice("?token=".length)
  return `${url.origin}${url.pathname}?token=${change(token)}`
}

const tokenOf = (url: URL): string => url.search.slice("?token=".length)

describe("a URL", () => {
  it.effect("is the base with a token, of letters that need no escape", () =>
    Effect.gen(function* () {
      const url = yield* issue({ key: "a key / with ?&#% and ümläut" })
      assert.match(url.href, /^https:\/\/app\.example\/hooks\/runpod\?token=v1\.[\w.-]+$/)
      const other = yield* issue({ url: "https://relay.example/in?to=us#part" })
      assert.match(other.href, /^https:\/\/relay\.example\/in\?to=us&token=v1\.[\w.-]+$/)
    }).pipe(provide())
  )

  it.effect("says nothing of the secret, and the same secret has the same key id on every instance", () =>
    Effect.gen(function* () {
      const [first, second] = [yield* provide()(issue()), yield* provide()(issue())]
      assert.strictEqual(first.href, second.href)
      assert.notInclude(first.href, secret)
      assert.notInclude(first.href, Buffer.from(secret).toString("base64url"))
    })
  )

  it.effect.each([{ key: "k".repeat(513) }, { url: "https://relay.example/?token=mine" }])(
    "a key that is too long is a bug of the caller's, and so is a base with a token of its own",
    (options) =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(issue(options))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      }).pipe(provide())
  )
})

describe("a delivery", () => {
  it.effect("is received with what its URL was issued for", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("5 seconds")
      const url = yield* issue({ key: "ключ 1" })
      const receipt = yield* receive({ url, body: body({ input: { a: 1 }, webhook: url.href }) })
      assert.strictEqual(receipt.endpointId, "ep")
      assert.strictEqual(receipt.key, "ключ 1")
      assert.strictEqual(receipt.job.id, "job-1")
      assert.strictEqual(receipt.job.status, "COMPLETED")
      assert.deepStrictEqual(receipt.job.output, { n: 1 })
      assert.deepStrictEqual(receipt.input, { a: 1 })
      assert.strictEqual(receipt.receivedAt, 5000)
      assert.isFalse(receipt.duplicate)
    }).pipe(provide())
  )

  it.effect.each([
    ["a path with its query", (url: URL) => url.pathname + url.search],
    ["behind a proxy that changed host and path", (url: URL) => `http://10.0.0.7:8080/x${url.search}`],
    ["with parameters that a proxy added", (url: URL) => `${url.href}&utm=1`],
    ["with a fragment", (url: URL) => `${url.href}#top`]
  ] as const)("may come as %s", ([, change]) =>
    Effect.gen(function* () {
      const url = change(yield* issue())
      assert.strictEqual((yield* receive({ url, body: new TextEncoder().encode(body()) })).key, "key-1")
    }).pipe(provide())
  )

  it.effect("the same end again is a duplicate: a success without an effect", () =>
    Effect.gen(function* () {
      const webhooks = yield* Webhooks.Webhooks
      const seen = yield* Effect.fork(Stream.runCollect(Stream.take(webhooks.eventsSince(0), 2)))
      const url = yield* issue()
      const receipts = yield* Effect.all([receive({ url, body: body() }), receive({ url, body: body() })])
      assert.deepStrictEqual(
        receipts.map(({ duplicate }) => duplicate),
        [false, true]
      )
      yield* receive({ url, body: body({ status: "FAILED", executionTime: 21 }) })
      const events = Chunk.toReadonlyArray(yield* Fiber.join(seen))
      assert.deepStrictEqual(
        events.map(({ job, sequence }) => [sequence, job.status]),
        [
          [1, "COMPLETED"],
          [2, "FAILED"]
        ]
      )
    }).pipe(provide())
  )

  it.effect("of another job under a used token is a replay", () =>
    Effect.gen(function* () {
      const url = yield* issue()
      yield* receive({ url, body: body() })
      const error = yield* refused({ url, body: body({ id: "job-2" }) })
      assert.strictEqual(error._tag, "WebhookReplayedError")
      assert.strictEqual(WebhookError.statusOf(error), 401)
    }).pipe(provide())
  )

  it.effect("large integers survive with a parser of one's own", () =>
    Effect.gen(function* () {
      const url = yield* issue()
      const receipt = yield* receive({
        url,
        body: body({ output: 1 }).replace(`"output":1`, `"output":9007199254740993`)
      })
      assert.strictEqual(receipt.job.output, 9007199254740993n)
    }).pipe(
      provide({
        parseJson: (text) =>
          JSON.parse(text, (key, value: unknown) => (key === "output" ? BigInt("9007199254740993") : value))
      })
    )
  )
})

describe("refused is", () => {
  const hour = 3_600_000

  it.effect.each([
    ["no token", "WebhookTokenMissingError", 401, (url: URL) => ({ url: url.origin + url.pathname })],
    ["an empty token", "WebhookTokenInvalidError", 401, (url: URL) => ({ url: withToken(url, () => "") })],
    ["a word for a token", "WebhookTokenInvalidError", 401, (url: URL) => ({ url: withToken(url, () => "hello") })],
    ["two tokens", "WebhookTokenInvalidError", 401, (url: URL) => ({ url: `${url.href}&token=${tokenOf(url)}` })],
    [
      "a token with its first letter altered",
      "WebhookTokenInvalidError",
      401,
      (url: URL) => ({ url: withToken(url, (t) => `v2${t.slice(2)}`) })
    ],
    [
      "a token with its last letter altered",
      "WebhookTokenInvalidError",
      401,
      (url: URL) => ({ url: withToken(url, (t) => t.slice(0, -1) + (t.endsWith("A") ? "B" : "A")) })
    ],
    [
      "a truncated token",
      "WebhookTokenInvalidError",
      401,
      (url: URL) => ({ url: withToken(url, (t) => t.slice(0, -1)) })
    ],
    [
      "a token with more behind it",
      "WebhookTokenInvalidError",
      401,
      (url: URL) => ({ url: withToken(url, (t) => `${t}A`) })
    ],
    [
      "a token with an escaped letter",
      "WebhookTokenInvalidError",
      401,
      (url: URL) => ({ url: withToken(url, (t) => `%76${t.slice(1)}`) })
    ],
    [
      "a token for another endpoint",
      "WebhookTokenInvalidError",
      401,
      (url: URL) => ({
        url: withToken(url, (t) =>
          t.replace(`.${Buffer.from("ep").toString("base64url")}.`, `.${Buffer.from("eq").toString("base64url")}.`)
        )
      })
    ],
    [
      "a token for another key",
      "WebhookTokenInvalidError",
      401,
      (url: URL) => ({
        url: withToken(url, (t) =>
          t.replace(Buffer.from("key-1").toString("base64url"), Buffer.from("key-2").toString("base64url"))
        )
      })
    ],
    [
      "a token that lasts longer",
      "WebhookTokenInvalidError",
      401,
      (url: URL) => ({ url: withToken(url, (t) => t.replace(/^(v1\.[^.]+\.)[^.]+/, "$1zzzzzz")) })
    ],
    [
      "a token of an unknown key",
      "WebhookKeyUnknownError",
      401,
      (url: URL) => ({ url: withToken(url, (t) => t.replace(/^v1\.[^.]+/, "v1.nokey")) })
    ],
    [
      "a body that is too large",
      "WebhookTooLargeError",
      413,
      (url: URL) => ({ url, body: body({ output: "x".repeat(2000) }) })
    ],
    [
      "a body too large in bytes, not in letters",
      "WebhookTooLargeError",
      413,
      (url: URL) => ({ url, body: body({ output: "ü".repeat(900) }) })
    ],
    ["no JSON", "WebhookNotJsonError", 400, (url: URL) => ({ url, body: "<html>" })],
    ["truncated JSON", "WebhookNotJsonError", 400, (url: URL) => ({ url, body: body().slice(0, -1) })],
    ["an empty body", "WebhookNotJsonError", 400, (url: URL) => ({ url, body: "" })],
    [
      "what is not UTF-8",
      "WebhookNotJsonError",
      400,
      (url: URL) => ({ url, body: new Uint8Array([0x22, 0xff, 0x22]) })
    ],
    ["an array", "WebhookShapeError", 400, (url: URL) => ({ url, body: "[]" })],
    ["a job without an id", "WebhookShapeError", 400, (url: URL) => ({ url, body: body({ id: undefined }) })],
    ["a job without a status", "WebhookShapeError", 400, (url: URL) => ({ url, body: body({ status: 200 }) })],
    ["an error that is no job", "WebhookShapeError", 400, (url: URL) => ({ url, body: `{"error":"nope"}` })]
  ] as const)("%s", ([, tag, status, change]) =>
    Effect.gen(function* () {
      const error = yield* refused({ body: body(), ...change(yield* issue()) })
      assert.strictEqual(error._tag, tag)
      assert.strictEqual(WebhookError.statusOf(error), status)
      assert.isTrue(WebhookError.isWebhookError(error))
      assert.strictEqual(yield* (yield* WebhookStore.WebhookStore).latest, 0)
    }).pipe(provide({ bodyLimit: 1500 }))
  )

  it.effect("a token whose time is over, to the second", () =>
    Effect.gen(function* () {
      const url = yield* issue({ expiresIn: "1 hour" })
      yield* TestClock.adjust(hour - 1)
      yield* receive({ url, body: body() })
      yield* TestClock.adjust(1)
      const error = yield* refused({ url, body: body() })
      assert.strictEqual(error._tag, "WebhookTokenExpiredError")
      assert.include(error.message, "ep")
    }).pipe(provide())
  )

  it.effect("nothing within 25 hours by default", () =>
    Effect.gen(function* () {
      const url = yield* issue()
      yield* TestClock.adjust(25 * hour - 1000)
      yield* receive({ url, body: body() })
    }).pipe(provide())
  )

  it.effect("any token of another deployment", () =>
    Effect.gen(function* () {
      const url = yield* provide({ secret: "another-secret-of-another-app" })(issue())
      const error = yield* provide()(refused({ url, body: body() }))
      assert.strictEqual(error._tag, "WebhookKeyUnknownError")
      // Even one whose key has the same name.
      const keys = (text: string) => ({ secret: undefined, keys: [{ id: "k", secret: text }] }) as const
      const named = yield* provide(keys("another-secret-of-another-app") as never)(issue())
      const other = yield* provide(keys(secret) as never)(refused({ url: named, body: body() }))
      assert.strictEqual(other._tag, "WebhookTokenInvalidError")
    })
  )
})

describe("keys", () => {
  const key = (id: string) => ({ id, secret: `${id}-${"s".repeat(20)}` })
  const service = (keys: readonly [Webhooks.Key, ...ReadonlyArray<Webhooks.Key>], store: WebhookStore.Service) =>
    Effect.provideService(Webhooks.make({ url: base, keys }), WebhookStore.WebhookStore, store)

  it.effect("are rotated without a gap: the first signs, all are accepted, a dropped one is unknown", () =>
    Effect.gen(function* () {
      const store = yield* WebhookStore.memory()
      const [before, during, after] = [
        yield* service([key("old")], store),
        yield* service([key("new"), key("old")], store),
        yield* service([key("new")], store)
      ]
      const old = yield* before.issue({ endpointId: "ep", key: "1" })
      const fresh = yield* during.issue({ endpointId: "ep", key: "2" })
      assert.include(old.href, "v1.old.")
      assert.include(fresh.href, "v1.new.")
      yield* during.receive({ url: old, body: body({ id: "a" }) })
      yield* during.receive({ url: fresh, body: body({ id: "b" }) })
      yield* after.receive({ url: fresh, body: body({ id: "b" }) })
      assert.strictEqual((yield* Effect.flip(after.receive({ url: old, body: body() })))._tag, "WebhookKeyUnknownError")
    })
  )
})

describe("a relay", () => {
  const relaySecret = `whsec_${Buffer.from("a relay's secret of 32 bytes ...").toString("base64")}`
  const sign = (text: string, at: number, id = "msg_1") => ({
    "Webhook-Id": id,
    "Webhook-Timestamp": String(at),
    "Webhook-Signature": `v1,${createHmac("sha256", Buffer.from(relaySecret.slice(6), "base64"))
      .update(`${id}.${at}.${text}`)
      .digest("base64")}`
  })
  const relay = provide({ relaySecrets: [Redacted.make(relaySecret)] })

  it.effect("vouches for a delivery without a token", () =>
    Effect.gen(function* () {
      const text = body()
      const receipt = yield* receive({ url: "/in", headers: sign(text, 0), body: text })
      assert.isUndefined(receipt.key)
      assert.strictEqual(receipt.job.id, "job-1")
      // What it sends again within its five minutes is known.
      assert.isTrue((yield* receive({ url: "/in", headers: new Headers(sign(text, 60)), body: text })).duplicate)
    }).pipe(relay)
  )

  it.effect("the token echoed in the body says whose job it is, and must be genuine", () =>
    Effect.gen(function* () {
      const url = yield* issue()
      const text = body({ webhook: url.href })
      assert.strictEqual((yield* receive({ url: "/in", headers: sign(text, 0), body: text })).key, "key-1")
      const forged = body({ webhook: withToken(url, (token) => token.replace(/.$/, "_")) })
      const error = yield* refused({ url: "/in", headers: sign(forged, 0), body: forged })
      assert.strictEqual(error._tag, "WebhookTokenInvalidError")
    }).pipe(relay)
  )

  it.effect.each([
    ["of another body", "Mismatch", (text: string) => sign(`${text} `, 1000)],
    ["of long ago", "TooOld", (text: string) => sign(text, 699)],
    ["of times to come", "TooNew", (text: string) => sign(text, 1301)],
    ["that is incomplete", "Missing", (text: string) => ({ ...sign(text, 1000), "Webhook-Id": "" })]
  ] as const)("a signature %s is refused", ([, reason, headersOf]) =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1000 seconds")
      const text = body()
      const error = yield* refused({ url: "/in", headers: headersOf(text), body: text })
      assert.strictEqual(error._tag === "WebhookSignatureError" ? error.reason : error._tag, reason)
    }).pipe(relay)
  )

  it.effect("whose secret is not known does not replace a token", () =>
    Effect.gen(function* () {
      const text = body()
      const error = yield* refused({ url: "/in", headers: sign(text, 0), body: text })
      assert.strictEqual(error._tag, "WebhookTokenMissingError")
    }).pipe(provide())
  )

  it.effect("a genuine signature does not make up for a bad token", () =>
    Effect.gen(function* () {
      const url = withToken(yield* issue(), (token) => token.slice(0, -1))
      const text = body()
      assert.strictEqual((yield* refused({ url, headers: sign(text, 0), body: text }))._tag, "WebhookTokenInvalidError")
    }).pipe(relay)
  )
})

describe("events", () => {
  const deliver = (n: number) =>
    Effect.flatMap(issue({ key: `key ${n}` }), (url) => receive({ url, body: body({ id: `job ${n}` }) }))

  it.effect("each subscriber gets all that come, in order, at its own pace", () =>
    Effect.gen(function* () {
      const { events, eventsSince } = yield* Webhooks.Webhooks
      yield* deliver(1)
      const ids = (stream: typeof events, count: number) =>
        Effect.fork(
          Effect.map(
            Stream.runCollect(Stream.take(stream, count)),
            Chunk.map(({ key }) => key)
          )
        )
      const live = yield* ids(events, 40)
      const slow = yield* ids(
        Stream.tap(events, () => Effect.sleep("1 second")),
        40
      )
      const all = yield* ids(eventsSince(0), 41)
      yield* TestClock.adjust(1)
      yield* Effect.forEach(
        Array.from({ length: 40 }, (_, n) => n + 2),
        deliver,
        { discard: true }
      )
      const keys = Array.from({ length: 41 }, (_, n) => `key ${n + 1}`)
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Fiber.join(live)), keys.slice(1))
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Fiber.join(all)), keys)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Fiber.join(slow)), keys.slice(1))
    }).pipe(provide())
  )

  it.effect("next gives what has come already, or waits for it, by job or by key", () =>
    Effect.gen(function* () {
      const { next } = yield* Webhooks.Webhooks
      const waiting = yield* Effect.fork(next({ key: "key 2", endpointId: "ep" }))
      const elsewhere = yield* Effect.fork(next({ key: "key 2", endpointId: "another" }))
      yield* deliver(1)
      assert.strictEqual((yield* next({ jobId: "job 1" })).sequence, 1)
      yield* Effect.yieldNow()
      assert.isTrue(Option.isNone(yield* Fiber.poll(waiting)))
      yield* deliver(2)
      assert.strictEqual((yield* Fiber.join(waiting)).job.id, "job 2")
      assert.isTrue(Option.isNone(yield* Fiber.poll(elsewhere)))
      const later = yield* Effect.fork(next({ jobId: "job 2", after: 2 }))
      yield* Effect.yieldNow()
      assert.isTrue(Option.isNone(yield* Fiber.poll(later)))
      yield* Fiber.interruptAll([elsewhere, later])
    }).pipe(provide())
  )
})

describe("what a body echoes", () => {
  it.effect("of S3 credentials is not stored, and the delivery can be read again even when they are digits", () =>
    Effect.gen(function* () {
      const { eventsSince } = yield* Webhooks.Webhooks
      const s3Config = { accessId: "12345678", accessSecret: "a/secret+of=s3" }
      yield* receive({ url: yield* issue(), body: body({ executionTime: 12345678, s3Config }) })
      const [stored] = yield* (yield* WebhookStore.WebhookStore).after(0, 1)
      assert.notInclude(stored?.body, "12345678")
      assert.notInclude(stored?.body, "a/secret")
      const events = yield* Stream.runCollect(Stream.take(eventsSince(0), 1))
      assert.deepStrictEqual(
        [...events].map(({ job }) => job.id),
        ["job-1"]
      )
    }).pipe(provide())
  )
})

describe("the output of a delivery", () => {
  it.effect("is stored as it came, also when it holds what is redacted elsewhere", () =>
    Effect.gen(function* () {
      const { eventsSince } = yield* Webhooks.Webhooks
      const url = yield* issue()
      const s3Config = { accessId: "access-id-1234", accessSecret: "secret/of+s3" }
      const output = {
        log: [`uploading with secret/of+s3`, `"webhook": "${url.href}"`],
        url: "https://bucket.s3.test/a.png?X-Amz-Credential=access-id-1234%2F20261125&X-Amz-Signature=abc",
        output: "}],\\"
      }
      yield* receive({ url, body: body({ input: { output: url.href }, output, s3Config, webhook: url.href }) })
      const [stored] = yield* (yield* WebhookStore.WebhookStore).after(0, 1)
      const { output: kept, ...envelope } = JSON.parse(stored?.body ?? "")
      assert.deepStrictEqual(kept, output)
      for (const secret of [tokenOf(url), "secret/of+s3", "access-id-1234"]) {
        assert.notInclude(JSON.stringify(envelope), secret)
      }
      const [event] = yield* Stream.runCollect(Stream.take(eventsSince(0), 1))
      assert.deepStrictEqual(event?.job.output, output)
    }).pipe(provide())
  )
})

describe("a store that fails", () => {
  const failing: WebhookStore.Service = {
    add: () => Effect.fail(new WebhookError.WebhookStoreError({ operation: "add", detail: "no space left" })),
    after: () => Effect.succeed([]),
    find: () => Effect.succeed(Option.none()),
    latest: Effect.succeed(0)
  }

  it.effect("is a 503, so that the delivery comes again", () =>
    Effect.gen(function* () {
      const webhooks = yield* Effect.provideService(
        Webhooks.make({ url: base, secret }),
        WebhookStore.WebhookStore,
        failing
      )
      const url = yield* webhooks.issue({ endpointId: "ep", key: "k" })
      const error = yield* Effect.flip(webhooks.receive({ url, body: body() }))
      assert.strictEqual(WebhookError.statusOf(error), 503)
    })
  )
})

describe("options", () => {
  it.effect.each([
    ["a short secret", { secret: "short" }, "fewer than 16"],
    ["no URL", { url: "app.example" }, "`url` is not a URL"],
    ["another protocol", { url: "ftp://app.example" }, "http or https"],
    ["a URL with a token", { url: "https://app.example/?token=x" }, "`token`"],
    ["a relay's secret that is none", { relaySecrets: ["whsec_?"] }, "whsec_"],
    [
      "two keys of one name",
      {
        secret: undefined,
        keys: [
          { id: "a", secret },
          { id: "a", secret: `${secret}2` }
        ]
      },
      "same id"
    ],
    ["a key with a bad name", { secret: undefined, keys: [{ id: "a.b", secret }] }, "`id`"]
  ] as const)("%s cannot be used, and the error says why without the secret", ([, options, why]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Effect.provide(issue(), Webhooks.layer({ url: base, secret, ...options } as never))
      )
      assert.isTrue(Exit.isFailure(exit))
      const text = inspect(exit, { depth: 10 }) + (Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "")
      assert.include(text, why)
      assert.notInclude(text, secret)
    })
  )

  it.effect("come from Config", () =>
    Effect.gen(function* () {
      const layers = [
        Webhooks.layerConfig(),
        Webhooks.layerConfig({ secret: Config.redacted("OTHER"), url: base }),
        Webhooks.layerConfigStore({ bodyLimit: Config.integer("LIMIT") }).pipe(
          Layer.provide(WebhookStore.layerMemory())
        )
      ]
      for (const layer of layers) {
        const url = yield* Effect.provide(issue(), layer)
        assert.include(url.href, base)
      }
    }).pipe(
      Effect.withConfigProvider(
        ConfigProvider.fromMap(
          new Map([
            ["RUNPOD_WEBHOOK_SECRET", secret],
            ["RUNPOD_WEBHOOK_URL", base],
            ["OTHER", `${secret}2`],
            ["LIMIT", "1000"]
          ])
        )
      )
    )
  )
})

describe("the token", () => {
  it.effect("and the secret are in no error, no span, no event and no store", () =>
    Effect.gen(function* () {
      const printed: Array<string> = []
      const spans: Array<Tracer.Span> = []
      const native = Tracer.make({
        span: (...args) => {
          const span = tracer.span(...args)
          spans.push(span)
          return span
        },
        context: (f) => f()
      })
      const tracer = yield* Effect.tracer
      const store = yield* WebhookStore.memory()
      const webhooks = yield* Effect.provideService(
        Webhooks.make({ url: base, secret }),
        WebhookStore.WebhookStore,
        store
      )
      const print = (value: unknown) => {
        printed.push(inspect(value, { depth: 20, showHidden: true }), JSON.stringify(value), String(value))
      }
      yield* Effect.gen(function* () {
        const url = yield* webhooks.issue({ endpointId: "ep", key: "k" })
        const token = tokenOf(url)
        const text = body({ webhook: url.href, error: `POST ${url.href}`, input: { echo: url.href } })
        print(yield* Effect.exit(webhooks.receive({ url: withToken(url, (t) => t.slice(0, -1)), body: text })))
        print(yield* Effect.exit(webhooks.receive({ url, body: `{"status":"x","id":5,"webhook":"${url.href}"}` })))
        yield* webhooks.receive({ url, body: text })
        print(yield* Effect.exit(webhooks.receive({ url, body: body({ id: "job-2" }) })))
        print(yield* store.after(0, 10))
        print(yield* webhooks.next({ key: "k" }))
        for (const span of spans) print([...span.attributes])
        assert.isNotEmpty(spans)
        const [signature] = token.split(".").slice(-1)
        for (const text of printed) {
          assert.notInclude(text, token)
          assert.notInclude(text, signature ?? assert.fail("no signature"))
          assert.notInclude(text, secret)
        }
      }).pipe(Effect.withTracer(native))
    })
  )
})
