import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Redacted from "effect/Redacted"
import { makeScrub, scrubValue } from "../../../src/internal/text/scrub.js"
import { json } from "../../support/arbitraries.js"

const unicode = (text: string) =>
  text.replace(/[^A-Za-z0-9]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)

const everyCharacter = (text: string) =>
  Array.from({ length: text.length }, (_, at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, "0")}`).join("")

// The ways others write a text.
const encoders: Readonly<Record<string, (text: string) => string>> = {
  "as it is": (text) => text,
  "in JSON": (text) => JSON.stringify(text).slice(1, -1),
  "in JSON within JSON": (text) => JSON.stringify(JSON.stringify(text).slice(1, -1)).slice(1, -1),
  "in JSON that escapes slashes": (text) => JSON.stringify(text).slice(1, -1).replaceAll("/", "\\/"),
  "in JSON that is safe within HTML": (text) =>
    JSON.stringify(text)
      .slice(1, -1)
      .replace(/[&<>]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`),
  "in JSON of escapes only": unicode,
  "in JSON of upper-case escapes": (text) =>
    unicode(text).replace(/u[0-9a-f]{4}/g, (digits) => `u${digits.slice(1).toUpperCase()}`),
  "in JSON that escapes every character": everyCharacter,
  "in JSON within JSON that escapes every character": (text) => JSON.stringify(everyCharacter(text)).slice(1, -1),
  "in JSON that escapes letters here and there": (text) =>
    JSON.stringify(text)
      .slice(1, -1)
      .replace(/[a-zA-Z0-9]/g, (character, at: number, whole: string) =>
        at % 3 === 0 && whole[at - 1] !== "\\" ? everyCharacter(character) : character
      ),
  "in a URL's path": (text) => encodeURIComponent(text),
  "in a URL's path, in lower case": (text) => encodeURIComponent(text).replace(/%../g, (byte) => byte.toLowerCase()),
  "in a URL within a URL": (text) => encodeURIComponent(encodeURIComponent(text)),
  "in a URL": (text) => encodeURI(text),
  "in a form": (text) => new URLSearchParams({ a: text }).toString().slice(2),
  "in HTML": (text) =>
    text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;"),
  "in HTML of numbers": (text) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`),
  "in HTML of hexadecimal numbers": (text) =>
    text.replace(/[&<>"'/]/g, (character) => `&#x${character.charCodeAt(0).toString(16).toUpperCase()};`)
}

// Of upper case and signs, so that no part of "<redacted>" can be taken for one.
const secretOf = (minLength: number) =>
  FastCheck.string({
    unit: FastCheck.constantFrom(..."ABCXYZ0189/+=&'\"\\%?#: _-.$^*()[]{}|~Ä日"),
    minLength,
    maxLength: 24
  })

describe("makeScrub", () => {
  describe.each(Object.entries(encoders))("a secret %s", (_, encode) => {
    it.each([
      "rpa_7GZK0Q",
      "wJ4/kQ+x9==",
      "https://a.example/h?t=1&u=<2>\"'",
      "a\\b\tc\n--",
      "pä日👍 x y",
      "100%-100%",
      "$&.*([$&"
    ])("is struck out: %j", (secret) => {
      const text = `before ${encode(secret)} after ${encode(secret)}`
      assert.strictEqual(makeScrub([secret])(text), "before <redacted> after <redacted>")
    })

    it.prop(
      "is struck out whatever it is",
      { secret: secretOf(8) },
      ({ secret }) => {
        assert.strictEqual(makeScrub([secret])(`<${encode(secret)}>`), "<<redacted>>")
      },
      { fastCheck: { numRuns: 30 } }
    )
  })

  it("leaves other text alone", () => {
    const text = `{"error":"key rpa_7GZK was refused, see https://x.example/?a=1&b=%20"}`
    assert.strictEqual(makeScrub(["rpa_7GZK0Q", "b=1"])(text), text)
    assert.strictEqual(makeScrub([])(text), text)
    assert.strictEqual(makeScrub([""])(text), text)
    assert.strictEqual(makeScrub(["x"])(""), "")
  })

  it.each<[string, ReadonlyArray<string>, string, string]>([
    [
      "one is inside the other",
      ["TOKEN-12", "MYTOKEN-123"],
      "a MYTOKEN-123 b TOKEN-12 c",
      "a <redacted> b <redacted> c"
    ],
    ["the end of one begins the other", ["ABCDEFGH", "FGHIJKLM"], "x ABCDEFGHIJKLM y", "x <redacted> y"],
    ["the other way round", ["FGHIJKLM", "ABCDEFGH"], "x ABCDEFGHIJKLM y", "x <redacted> y"],
    ["one overlaps itself", ["ABABABAB"], "x ABABABABABAB y", "x <redacted> y"],
    ["they stand side by side", ["ABCDEFGH", "IJKLMNOP"], "ABCDEFGHIJKLMNOP", "<redacted><redacted>"],
    ["one stands side by side with itself", ["ABCDEFGH"], "ABCDEFGHABCDEFGH", "<redacted><redacted>"],
    ["one is given twice", ["ABCDEFGH", "ABCDEFGH"], "ABCDEFGH", "<redacted>"]
  ])("leaves nothing of two secrets where %s", (_, secrets, text, expected) => {
    assert.strictEqual(makeScrub(secrets)(text), expected)
  })

  it.prop(
    "leaves no variant of any secret in any text",
    {
      secrets: FastCheck.array(secretOf(8), { minLength: 1, maxLength: 4 }),
      parts: FastCheck.array(
        FastCheck.tuple(FastCheck.nat(), FastCheck.constantFrom(...Object.values(encoders)), FastCheck.string()),
        { maxLength: 8 }
      )
    },
    ({ parts, secrets }) => {
      const text = parts.map(([which, encode, rest]) => `${encode(secrets[which % secrets.length]!)}${rest}`).join("")
      const scrubbed = makeScrub(secrets)(text)
      for (const piece of scrubbed.split("<redacted>")) {
        for (const secret of secrets) {
          for (const [name, encode] of Object.entries(encoders)) assert.notInclude(piece, encode(secret), name)
        }
      }
    },
    { fastCheck: { numRuns: 80 } }
  )

  it.each(["test", "key", "e", "1234567"])("leaves texts whole where the key is as short as %j", (key) => {
    const text = "the e2e test of 1234567 workers failed: no key"
    assert.strictEqual(makeScrub([key])(text), text)
    assert.strictEqual(makeScrub([key, "rpa_7GZK0Q"])(`${text} rpa_7GZK0Q`), `${text} <redacted>`)
  })

  const inString = (text: string) => JSON.stringify(text).slice(1, -1)
  const echo = `{"webhook":"https://a.example/T-1","s3Config":{"accessId":"I-1","accessSecret":"S-1"},"a":"kept"}`

  describe.each([0, 1, 2, 3, 4])("within %d texts of JSON", (levels) => {
    const within = (text: string) => Array.from({ length: levels }).reduce<string>(inString, text)

    it("the values of echoed fields are struck out, and nothing behind them", () => {
      const expected = within(`{"webhook":"<redacted>","s3Config":{<redacted>},"a":"kept"}`)
      assert.strictEqual(makeScrub([])(within(echo)), expected)
    })

    it("an echoed field that is cut off is struck out to the end", () => {
      for (const cut of [`{"webhook":"https://a.exam`, `{"s3Config":{"accessId":"I`, `{"accessId": "I"}"`]) {
        assert.notMatch(makeScrub([])(within(cut)), /exam|"I/)
      }
    })
  })

  it.each([
    `{"webhook":null,"accessId":7,"s3Config":[1]}`,
    `{"webhook":"","s3Config":{}}`,
    `{"webhooks":"a","my webhook":"b"}`,
    `"webhook" "accessId": `,
    `\\"webhook":"a"`
  ])("what only looks like an echoed field is left alone: %s", (text) => {
    assert.strictEqual(makeScrub([])(text), text)
  })
})

describe("scrubValue", () => {
  const scrub = makeScrub(["SECRET-1"])

  it("finds a secret that is cut between the pieces of a text", () => {
    const scrub = makeScrub(["SECRET-1234"])
    assert.deepStrictEqual(scrubValue({ output: ["a SECR", "ET-12", "34 b"] }, scrub), { output: ["a <redacted> b"] })
    assert.deepStrictEqual(scrubValue(["a", "SECRET-1234", "b"], scrub), ["a", "<redacted>", "b"])
  })

  it("strikes secrets out of every string and key", () => {
    assert.deepStrictEqual(
      scrubValue({ a: "x SECRET-1", b: ["SECRET-1", { "k SECRET-1": 1 }], c: null, d: 2, e: true }, scrub),
      { a: "x <redacted>", b: ["<redacted>", { "k <redacted>": 1 }], c: null, d: 2, e: true }
    )
    assert.strictEqual(scrubValue("SECRET-1", scrub), "<redacted>")
    assert.isUndefined(scrubValue(undefined, scrub))
  })

  it.prop("copies any JSON that holds no secret", { value: json }, ({ value }) => {
    assert.deepStrictEqual(scrubValue(value, scrub), value)
  })

  it("does not change the value it is given", () => {
    const value = { a: ["SECRET-1"] }
    scrubValue(value, scrub)
    assert.deepStrictEqual(value, { a: ["SECRET-1"] })
  })

  it("keeps a key called __proto__ a key", () => {
    const copy = scrubValue(JSON.parse(`{"__proto__":{"a":"SECRET-1"}}`), scrub)
    assert.strictEqual(JSON.stringify(copy), `{"__proto__":{"a":"<redacted>"}}`)
    assert.strictEqual(Object.getPrototypeOf(copy), Object.prototype)
  })

  it("keeps the values of a JSON parser of one's own", () => {
    class BigDecimal {
      constructor(readonly digits: string) {}
    }
    const seed = new BigDecimal("12345678901234567890")
    const copy = scrubValue({ seed, big: 10n, at: new Date(0) }, scrub) as Record<string, unknown>
    assert.strictEqual(copy["seed"], seed)
    assert.strictEqual(copy["big"], 10n)
    assert.instanceOf(copy["at"], Date)
  })

  it("keeps what is redacted redacted", () => {
    const copy = scrubValue({ webhook: Redacted.make("https://a.example/SECRET-1") }, scrub)
    assert.notInclude(inspect(copy, { depth: 9 }), "SECRET-1")
    assert.strictEqual(JSON.stringify(copy), `{"webhook":"<redacted>"}`)
  })

  it("copies JSON nested more deeply than calls can be", () => {
    const deep: unknown = JSON.parse("[".repeat(200_000) + `"SECRET-1"` + "]".repeat(200_000))
    let inner: unknown = scrubValue(deep, scrub)
    for (let i = 0; i < 200_000; i++) inner = (inner as ReadonlyArray<unknown>)[0]
    assert.strictEqual(inner, "<redacted>")
  })
})

describe("a secret in base64", () => {
  const secret = "rpa_7GZK0Q/+ä~~~???>>>"
  const base64 = (text: string) => Buffer.from(text).toString("base64")
  const base64url = (text: string) => Buffer.from(text).toString("base64url")
  const encodings: ReadonlyArray<(text: string) => string> = [
    base64,
    base64url,
    (text) => JSON.stringify({ a: base64(text) }).replaceAll("/", "\\/"),
    (text) => encodeURIComponent(base64(text))
  ]

  it.each(["", "u", "us", "usr", "user:", `{"authorization":"Bearer `])("is struck out behind %j", (before) => {
    for (const [i, encode] of encodings.entries()) {
      for (const after of ["", ":", `"}`, "key"]) {
        const text = `Basic ${encode(before + secret + after)} end`
        const scrubbed = makeScrub([secret])(text)
        assert.match(scrubbed, /^Basic .*<redacted>.* end$/, `${i}`)
        // What is left of it in a text, decoded: at each end a part of one character at most.
        assert.isBelow(scrubbed.length, text.length - base64(secret).length + 20)
        assert.notInclude(Buffer.from(scrubbed, "base64url").toString("latin1"), "GZK")
      }
    }
  })
})

it.each([
  ["GET https://b.test/k?X-Amz-Date=1&X-Amz-Signature=0a1b2c&x=1 failed", "0a1b2c"],
  [JSON.stringify({ url: "https://b.test/k?X-Amz-Security-Token=FwoGZX%2F%2B&X-Amz-Expires=60" }), "FwoGZX"],
  ["/proxy?u=https%3A%2F%2Fb.test%2Fk%3FX-Amz-Signature%3D0a1b2c", "0a1b2c"],
  ['{"u":"https://b.test/k?X-Amz-Signature\\u003d0a1b2c"}', "0a1b2c"],
  ["b.test got AWS4-HMAC-SHA256 SignedHeaders=host, Signature=0a1b2c3d4e5f60718293, no", "0a1b2c"],
  ["https://b.test/k?AWSAccessKeyId=x&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D&Expires=1", "vjbyPx"]
])("the signature of a request of S3 is struck out, wherever it comes from: %s", (text, secret) => {
  const scrubbed = makeScrub([])(text)
  assert.notInclude(scrubbed, secret)
  assert.include(scrubbed, "b.test")
})

it("what is too short for a signature, or is called otherwise, is left", () => {
  const text = "inspect(Signature=None), MySignature=0a1b2c3d4e5f60718293"
  assert.strictEqual(makeScrub([])(text), text)
})
