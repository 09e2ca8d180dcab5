import { assert, describe, it } from "@effect/vitest"
import * as RunRequest from "effect-runpod/RunRequest"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

// Users write JavaScript, too: requests here may be of any type.
const toText = (request: unknown) => RunRequest.toText(request as RunRequest.RunRequest)
const bodyOf = (request: unknown): unknown =>
  JSON.parse(Either.getOrThrowWith(toText(request), (problem) => new Error(problem)))
const problemOf = (request: unknown): string => Either.getOrThrow(Either.flip(toText(request)))

const input = { prompt: "a fox" }
const s3Config = {
  accessId: "AKIAEXAMPLE0001",
  accessSecret: "wJ4/kQ+x9secret0Example",
  bucketName: "results",
  endpointUrl: "https://s3.example"
}

class Params {
  readonly steps = 20
  get double() {
    return this.steps * 2
  }
}

class Opaque {
  readonly #steps = 20
  toJSON() {
    return { steps: this.#steps }
  }
}

describe("RunRequest.toText", () => {
  it("puts the input first, whatever the order of the request's keys", () => {
    const request = { webhook: "https://app.example/hook", policy: { lowPriority: true }, input }
    assert.deepStrictEqual(
      toText(request),
      Either.right(`{"input":{"prompt":"a fox"},"webhook":"https://app.example/hook","policy":{"lowPriority":true}}`)
    )
  })

  it("leaves out what is undefined", () => {
    assert.deepStrictEqual(
      toText({ input, webhook: undefined, policy: { ttl: undefined }, s3Config: undefined }),
      Either.right(`{"input":{"prompt":"a fox"},"policy":{}}`)
    )
  })

  describe("input", () => {
    it.each<[string, unknown, unknown]>([
      ["nested values of any kind", { a: [1, null, { b: false }], c: "" }, { a: [1, null, { b: false }], c: "" }],
      ["keys that are undefined beside others", { a: undefined, b: 1 }, { b: 1 }],
      ["a null value", { a: null }, { a: null }],
      ["dates inside", { at: new Date(0) }, { at: "1970-01-01T00:00:00.000Z" }],
      ["an object without a prototype", Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
      ["an instance of a class", new Params(), { steps: 20 }],
      ["an instance with no fields but a toJSON", new Opaque(), { steps: 20 }],
      ["a toJSON of its own", { hidden: 1, toJSON: () => ({ shown: 2 }) }, { shown: 2 }],
      ["a key called __proto__", JSON.parse(`{"__proto__":1}`), JSON.parse(`{"__proto__":1}`)],
      ["a key that needs escapes", { 'a"b\n': 1 }, { 'a"b\n': 1 }],
      ["a lone surrogate", { a: "\ud800" }, { a: "\ud800" }]
    ])("takes %s", (_, value, expected) => {
      assert.deepStrictEqual(bodyOf({ input: value }), { input: expected })
    })

    const notObject = "input: the input must be a JSON object: RunPod hands it to the handler as a dict"
    const noObjectOnceWritten = "input: once written as JSON it is not an object with at least one key"
    const circular: Record<string, unknown> = {}
    circular["self"] = circular

    it.each<[string, unknown, string | RegExp]>([
      ["nothing", undefined, /^input: /],
      ["null", null, notObject],
      ["a string", "a fox", notObject],
      ["a number", 5, notObject],
      ["an array", [input], notObject],
      ["a function", () => input, notObject],
      ["a Date", new Date(0), notObject],
      ["a Map", new Map([["a", 1]]), notObject],
      ["a Set", new Set([1]), notObject],
      ["bytes", new Uint8Array([1, 2]), notObject],
      ["a Buffer", Buffer.from("{}"), notObject],
      ["a view", new DataView(new ArrayBuffer(2)), notObject],
      ["an empty object", {}, /^input: the input is empty: .*send at least one key$/],
      ["a promise", Promise.resolve(input), /^input: the input is empty/],
      ["an Error", new Error("x"), /^input: the input is empty/],
      ["an object that is empty once written", { a: undefined }, noObjectOnceWritten],
      ["an object of functions", { a: () => 1 }, noObjectOnceWritten],
      ["an object of symbols", { a: Symbol("a") }, noObjectOnceWritten],
      ["a boxed string", new String("a fox"), noObjectOnceWritten],
      ["a toJSON that returns a string", { a: 1, toJSON: () => `{"` }, noObjectOnceWritten],
      ["a toJSON that returns an array", { a: 1, toJSON: () => [{ a: 1 }] }, noObjectOnceWritten],
      ["a toJSON that returns {}", { a: 1, toJSON: () => ({}) }, noObjectOnceWritten],
      ["a toJSON that returns nothing", { a: 1, toJSON: () => undefined }, noObjectOnceWritten],
      ["a URL", new URL("https://app.example"), noObjectOnceWritten],
      ["a redacted value", Redacted.make(input), noObjectOnceWritten],
      ["a BigInt", { seed: 10n }, /^input: it cannot be written as JSON: .*BigInt/],
      ["a circle", circular, /^input: it cannot be written as JSON: .*circular/i]
    ])("refuses %s", (_, value, problem) => {
      if (typeof problem === "string") assert.strictEqual(problemOf({ input: value }), problem)
      else assert.match(problemOf({ input: value }), problem)
    })

    it("refuses a value nested too deeply to be written", () => {
      let deep: unknown = 1
      for (let i = 0; i < 100_000; i++) deep = [deep]
      assert.match(problemOf({ input: { deep } }), /^input: it cannot be written as JSON/)
    })

    it("is all that is inside it: a webhook there is the handler's", () => {
      assert.deepStrictEqual(bodyOf({ input: { webhook: "not a url" } }), { input: { webhook: "not a url" } })
    })
  })

  describe("policy", () => {
    it.each<[string, unknown, number]>([
      ["executionTimeout", "5 seconds", 5000],
      ["executionTimeout", 5000, 5000],
      ["executionTimeout", 5000.4, 5000],
      ["executionTimeout", "7 days", 604_800_000],
      ["executionTimeout", Duration.minutes(90), 5_400_000],
      ["executionTimeout", 5_000_000_000n, 5000],
      ["executionTimeout", [5, 500_000_000], 5500],
      ["ttl", "10 seconds", 10_000],
      ["ttl", 10_000, 10_000],
      ["ttl", "1 week", 604_800_000]
    ])("sends %s %s as %d milliseconds", (key, value, millis) => {
      assert.deepStrictEqual(bodyOf({ input, policy: { [key]: value } }), { input, policy: { [key]: millis } })
    })

    it.each<[string, unknown, string]>([
      ["executionTimeout", 4999, "between 5s and 7d, got 4s 999ms"],
      ["executionTimeout", 4999.9, "between 5s and 7d, got 4s 999ms"],
      ["executionTimeout", 604_800_001, "between 5s and 7d, got 7d 1ms"],
      ["executionTimeout", 0, "between 5s and 7d, got 0"],
      ["executionTimeout", -1, "between 5s and 7d, got 0"],
      ["executionTimeout", Number.NaN, "between 5s and 7d, got 0"],
      ["executionTimeout", Infinity, "between 5s and 7d, got Infinity"],
      ["executionTimeout", Duration.infinity, "between 5s and 7d, got Infinity"],
      ["ttl", 9999, "between 10s and 7d, got 9s 999ms"],
      ["ttl", "8 days", "between 10s and 7d, got 8d"],
      ["executionTimeout", "soon", "must be a duration"],
      ["executionTimeout", "5000", "must be a duration"],
      ["ttl", null, "must be a duration"],
      ["ttl", {}, "must be a duration"],
      ["ttl", new Date(0), "must be a duration"]
    ])("refuses %s %s", (key, value, sentence) => {
      const problem = problemOf({ input, policy: { [key]: value } })
      assert.include(problem, `policy.${key}: ${key} must be`)
      assert.include(problem, sentence)
    })

    it.each<[unknown, string]>([
      [{ lowPriority: "yes" }, "policy.lowPriority: Expected boolean"],
      [{ lowPriority: null }, "policy.lowPriority: Expected boolean"],
      [{ timeout: 5 }, "policy.timeout: is unexpected"],
      ["fast", "policy: Expected an object with executionTimeout, ttl or lowPriority"],
      [null, "policy: Expected an object with executionTimeout, ttl or lowPriority"]
    ])("refuses %j", (policy, problem) => {
      assert.include(problemOf({ input, policy }), problem)
    })
  })

  describe("webhook", () => {
    it.each<[string | URL, string]>([
      ["https://app.example/hooks/7?token=x", "https://app.example/hooks/7?token=x"],
      ["http://localhost:3000", "http://localhost:3000"],
      ["HTTPS://app.example/A", "HTTPS://app.example/A"],
      [new URL("https://app.example/a b"), "https://app.example/a%20b"]
    ])("sends %s", (webhook, sent) => {
      assert.deepStrictEqual(bodyOf({ input, webhook }), { input, webhook: sent })
    })

    it.each<[unknown]>([
      ["/hooks/7"],
      ["app.example/hooks"],
      ["ftp://app.example/hooks"],
      ["file:///etc/passwd"],
      [new URL("ftp://app.example/")],
      ["https:app.example"],
      ["https://"],
      [" https://app.example/"],
      ["https://app.example/\n"],
      ["https://app.example/a b"],
      ["javascript:https://app.example"],
      [""]
    ])("refuses %j", (webhook) => {
      assert.strictEqual(problemOf({ input, webhook }), "webhook: the webhook must be an absolute http or https URL")
    })

    it.each<[unknown]>([[true], [5], [null], [{ url: "https://app.example" }]])(
      "refuses %j, which is no URL",
      (webhook) => {
        assert.match(problemOf({ input, webhook }), /^webhook: /)
      }
    )
  })

  describe("s3Config", () => {
    it("sends redacted credentials as plain text", () => {
      const redacted = {
        ...s3Config,
        accessId: Redacted.make(s3Config.accessId),
        accessSecret: Redacted.make(s3Config.accessSecret),
        objectPath: "out/"
      }
      assert.deepStrictEqual(bodyOf({ input, s3Config: redacted }), {
        input,
        s3Config: { ...s3Config, objectPath: "out/" }
      })
    })

    it.each<[string, unknown, string]>([
      ["no bucket", { ...s3Config, bucketName: "" }, "s3Config.bucketName: "],
      ["no endpoint", { ...s3Config, endpointUrl: undefined }, "s3Config.endpointUrl: "],
      ["no secret", { ...s3Config, accessSecret: null }, "s3Config.accessSecret: "],
      ["a redacted number", { ...s3Config, accessSecret: Redacted.make(55_555_555) }, "s3Config.accessSecret: "],
      ["a key too many", { ...s3Config, region: "eu" }, "s3Config.region: is unexpected"],
      ["a string", "s3://AKIAEXAMPLE0001@results", "s3Config: Expected an object with accessId"]
    ])("with %s is refused", (_, value, problem) => {
      assert.include(problemOf({ input, s3Config: value }), problem)
    })
  })

  it.each<[unknown, string]>([
    [undefined, "Expected an object with an input"],
    [null, "Expected an object with an input"],
    ["run", "Expected an object with an input"],
    [[{ input }], "Expected an object with an input"],
    [{}, "input: is missing"],
    [{ prompt: "a fox" }, `prompt: is unexpected, expected: "input" | "webhook" | "policy" | "s3Config"`],
    [{ input, webhookV2: "x" }, `webhookV2: is unexpected, expected: "input" | "webhook" | "policy" | "s3Config"`]
  ])("refuses the request %j", (request, problem) => {
    assert.strictEqual(problemOf(request), problem)
  })

  it.prop(
    "gives a JSON object or a sentence for a request of any shape, and never throws",
    {
      request: FastCheck.oneof(
        FastCheck.anything({ withDate: true, withMap: true, withBigInt: true, withTypedArray: true }),
        FastCheck.record(
          {
            input: FastCheck.oneof(FastCheck.object(), FastCheck.anything()),
            webhook: FastCheck.oneof(FastCheck.webUrl(), FastCheck.anything()),
            policy: FastCheck.oneof(
              FastCheck.record({ ttl: FastCheck.anything(), lowPriority: FastCheck.anything() }, { requiredKeys: [] }),
              FastCheck.anything()
            )
          },
          { requiredKeys: ["input"] }
        )
      )
    },
    ({ request }) => {
      const text = toText(request)
      if (Either.isLeft(text)) return assert.isNotEmpty(text.left)
      const body = JSON.parse(text.right) as { readonly input: object }
      assert.isObject(body.input)
      assert.isNotEmpty(Object.keys(body.input))
    },
    { fastCheck: { numRuns: 200 } }
  )
})

describe("a refusal", () => {
  const secret = "Zk81hQ5rT0/secret+value"
  const redacted = Redacted.make(secret)
  const hook = `https://app.example/${encodeURIComponent(secret)}`

  it.each<[string, unknown]>([
    ["a webhook that is no URL", { input, webhook: `//app.example/${secret}` }],
    ["a webhook in an object", { input, webhook: { url: secret } }],
    [
      "a wrong policy beside secrets",
      { input, webhook: hook, policy: { ttl: 1 }, s3Config: { ...s3Config, accessSecret: secret } }
    ],
    ["a policy that is a secret", { input, policy: `x, actual ${secret}` }],
    ["a duration that is a secret", { input, policy: { ttl: secret } }],
    ["a boolean that is a secret", { input, policy: { lowPriority: secret } }],
    ["credentials in a string", { input, s3Config: secret }],
    ["credentials in an array", { input, s3Config: [secret] }],
    ["credentials without a bucket", { input, s3Config: { accessId: secret, accessSecret: redacted } }],
    ["a bucket that is redacted", { input, s3Config: { ...s3Config, bucketName: redacted, accessSecret: secret } }],
    ["an accessId in an object", { input, s3Config: { ...s3Config, accessId: { value: secret } } }],
    ["a key too many beside secrets", { input, webhook: hook, key: secret }],
    ["an empty input beside secrets", { input: {}, webhook: hook, s3Config: { ...s3Config, accessSecret: redacted } }],
    ["an input that is a secret", { input: secret }],
    [
      "an input that throws the webhook",
      {
        input: {
          toJSON: () => {
            throw new Error(`no ${hook}`)
          }
        },
        webhook: hook
      }
    ],
    [
      "an input that throws a credential",
      {
        input: {
          toJSON: () => {
            throw secret
          }
        },
        s3Config: { ...s3Config, accessSecret: redacted }
      }
    ]
  ])("of %s says nothing of it", (_, request) => {
    const problem = problemOf(request)
    for (const part of [secret, encodeURIComponent(secret), "secret+value", "Zk81hQ5rT0", s3Config.accessSecret]) {
      assert.notInclude(problem, part)
    }
  })
})

describe("RunRequest.RunRequest", () => {
  it("decodes a body, with its credentials redacted", () => {
    const request = Schema.decodeUnknownSync(RunRequest.RunRequest)({ input, policy: { ttl: 60_000 }, s3Config })
    assert.deepStrictEqual(request.input, input)
    assert.strictEqual(Duration.toMillis(request.policy!.ttl!), 60_000)
    assert.notInclude(JSON.stringify(request), s3Config.accessSecret)
    assert.strictEqual(Redacted.value(request.s3Config!.accessSecret as Redacted.Redacted), s3Config.accessSecret)
  })

  it.each<[string, unknown]>([
    ["an empty input", { input: {} }],
    ["no input", {}],
    ["a ttl below 10 seconds", { input, policy: { ttl: 9999 } }],
    ["a webhook without a scheme", { input, webhook: "app.example" }]
  ])("refuses to decode %s", (_, body) => {
    assert.throws(() => Schema.decodeUnknownSync(RunRequest.RunRequest)(body))
  })
})

describe("RunRequest.waitMillis", () => {
  it.each<[Duration.DurationInput, number]>([
    [1000, 1000],
    ["1 second", 1000],
    ["90 seconds", 90_000],
    ["5 minutes", 300_000],
    [300_000, 300_000],
    [1500.6, 1501]
  ])("sends %s as %d", (wait, millis) => {
    assert.deepStrictEqual(RunRequest.waitMillis(wait), Either.right(millis))
  })

  it.each<[unknown, RegExp]>([
    [999, /^wait must be between 1s and 5m, got 999ms$/],
    [999.9, /^wait must be between 1s and 5m, got /],
    [300_001, /^wait must be between 1s and 5m, got 5m 1ms$/],
    [300_000.5, /^wait must be between 1s and 5m, got /],
    [0, /got 0$/],
    [Number.NaN, /got 0$/],
    [Infinity, /got Infinity$/],
    [1e302, /got 1e\+302$/],
    ["90s", /^wait must be a duration/],
    [null, /^wait must be a duration/],
    [{}, /^wait must be a duration/]
  ])("refuses %s", (wait, problem) => {
    assert.match(Either.getOrThrow(Either.flip(RunRequest.waitMillis(wait as number))), problem)
  })

  it.prop(
    "gives whole milliseconds within the range, or a sentence, for any value",
    { wait: FastCheck.oneof(FastCheck.anything(), FastCheck.double(), FastCheck.nat({ max: 400_000 })) },
    ({ wait }) => {
      const millis = RunRequest.waitMillis(wait as number)
      if (Either.isLeft(millis)) return assert.match(millis.left, /^wait must be /)
      assert.isTrue(Number.isInteger(millis.right) && millis.right >= 1000 && millis.right <= 300_000)
    },
    { fastCheck: { numRuns: 200 } }
  )
})

describe("RunRequest.secretsOf", () => {
  it("names the credentials, redacted or not", () => {
    const plain = RunRequest.secretsOf({ input, s3Config })
    const redacted = RunRequest.secretsOf({
      input,
      s3Config: {
        ...s3Config,
        accessId: Redacted.make(s3Config.accessId),
        accessSecret: Redacted.make(s3Config.accessSecret)
      }
    })
    assert.deepStrictEqual(plain, [s3Config.accessId, s3Config.accessSecret])
    assert.deepStrictEqual(redacted, plain)
  })

  it("names the webhook's URL and every part of it that can be a token", () => {
    const webhook =
      "https://user-name:pass-word-1@app.example/v1/path-token-1/hook?t=query%2Ftoken%201&n=5#fragment-token"
    const expected = [webhook, "user-name", "pass-word-1", "path-token-1", "query/token 1", "fragment-token"]
    for (const given of [webhook, new URL(webhook)]) {
      assert.includeMembers([...RunRequest.secretsOf({ input, webhook: given })], expected)
    }
  })

  it("leaves out parts so short that striking them out would maim every message", () => {
    for (const part of ["v1", "hook", "5"]) {
      assert.notInclude(RunRequest.secretsOf({ input, webhook: "https://app.example/v1/hook?n=5" }), part)
    }
  })

  it("is empty for a request without secrets", () => {
    assert.deepStrictEqual(RunRequest.secretsOf({ input, policy: { ttl: "1 hour" } }), [])
  })
})
