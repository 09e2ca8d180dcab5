import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { utf8 } from "../../../src/internal/text/bytes.js"
import * as StandardWebhooks from "../../../src/internal/webhooks/signature.js"

/** The published examples of the specification's reference libraries, and of a vendor that signs this way. */
const vectors = [
  {
    secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    timestamp: "1614265330",
    body: `{"test": 2432232314}`,
    signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
  },
  {
    secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
    timestamp: "1649367553",
    body: `{"email":"test@example.com","username":"test_user"}`,
    signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
  }
] as const

type Vector = { readonly [K in keyof (typeof vectors)[number]]: string }

const other = "whsec_plJ3nmyCDGBKInavdOK15jsl"

/** What the headers come to, and whether the signature holds where they are in order. */
const check = (
  vector: Vector,
  {
    headers = {},
    keys = [vector.secret],
    now = Number(vector.timestamp) * 1000
  }: {
    readonly headers?: Readonly<Record<string, string | undefined>>
    readonly keys?: ReadonlyArray<string>
    readonly now?: number
  } = {}
) =>
  Effect.gen(function* () {
    const all: Readonly<Record<string, string | undefined>> = {
      "webhook-id": vector.id,
      "webhook-timestamp": vector.timestamp,
      "webhook-signature": vector.signature,
      ...headers
    }
    const envelope = StandardWebhooks.readHeaders((name) => all[name], now)
    if (typeof envelope === "string") return envelope
    return yield* StandardWebhooks.verify(envelope, utf8(vector.body), keys.map(keyOf))
  })

const keyOf = (secret: string) => {
  const key = StandardWebhooks.readKey(secret)
  return key ?? assert.fail("no key")
}

const [vector] = vectors
const at = Number(vector.timestamp) * 1000

describe.each(vectors)("the published vector $id", (vector) => {
  it.effect("holds", () => Effect.map(check(vector), (holds) => assert.isTrue(holds)))
  it.effect("holds with the key without its prefix", () =>
    Effect.map(check(vector, { keys: [vector.secret.slice(6)] }), (holds) => assert.isTrue(holds))
  )
  it.effect("does not hold with another's key", () =>
    Effect.map(check(vector, { keys: [other] }), (holds) => assert.isFalse(holds))
  )
})

describe("a signature holds", () => {
  it.effect.each([
    ["beside others", { headers: { "webhook-signature": `v1,bm9ldHU= ${vector.signature} v1,AAAA` } }],
    [
      "beside another version",
      { headers: { "webhook-signature": `v1a,${vector.signature.slice(3)} ${vector.signature}` } }
    ],
    ["when one of several keys made it", { keys: [other, vector.secret] }],
    ["300 s after it was made", { now: at + 300_999 }],
    ["300 s before the receiver's clock says so", { now: at - 300_000 }]
  ] as const)("%s", ([, options]) => Effect.map(check(vector, options), (holds) => assert.isTrue(holds)))
})

const altered = (text: string, index: number): string => {
  const letter = text[index] === "A" ? "B" : "A"
  return text.slice(0, index) + letter + text.slice(index + 1)
}

describe("a signature does not hold", () => {
  it.effect.each([
    ["of another body", { ...vector, body: `{"test": 2432232315}` }, {}],
    ["of another id", { ...vector, id: "msg_p5jXN8AQM9LWM0D4loKWxJel" }, {}],
    ["of another time", { ...vector, timestamp: "1614265331" }, {}],
    ["with its first letter altered", { ...vector, signature: altered(vector.signature, 3) }, {}],
    ["with bits altered that base64 drops", { ...vector, signature: vector.signature.replace("1OE=", "1OF=") }, {}],
    ["without its padding", { ...vector, signature: vector.signature.slice(0, -1) }, {}],
    ["truncated", { ...vector, signature: vector.signature.slice(0, 20) }, {}],
    ["empty", { ...vector, signature: "v1," }, {}],
    ["without its version", { ...vector, signature: vector.signature.slice(3) }, {}],
    ["of another version", { ...vector, signature: vector.signature.replace("v1,", "v2,") }, {}],
    ["of the asymmetric version", { ...vector, signature: vector.signature.replace("v1,", "v1a,") }, {}],
    ["with commas between several", { ...vector, signature: `v1,AAAA,${vector.signature}` }, {}],
    ["without any key", vector, { keys: [] }]
  ] as const)("%s", ([, altered, options]) => Effect.map(check(altered, options), (holds) => assert.isFalse(holds)))
})

describe("headers are refused", () => {
  it.effect.each([
    ["without an id", { headers: { "webhook-id": undefined } }, "Missing"],
    ["with an empty id", { headers: { "webhook-id": "" } }, "Missing"],
    ["without a time", { headers: { "webhook-timestamp": undefined } }, "Missing"],
    ["without a signature", { headers: { "webhook-signature": undefined } }, "Missing"],
    ["with a time that is no number", { headers: { "webhook-timestamp": "hello" } }, "Malformed"],
    ["with a time that JavaScript would read as a number", { headers: { "webhook-timestamp": "1e9" } }, "Malformed"],
    ["with a sign", { headers: { "webhook-timestamp": "-1614265330" } }, "Malformed"],
    ["with a fraction", { headers: { "webhook-timestamp": "1614265330.5" } }, "Malformed"],
    ["in milliseconds", { headers: { "webhook-timestamp": "1614265330000" } }, "TooNew"],
    ["301 s late", { now: at + 301_000 }, "TooOld"],
    ["301 s early", { now: at - 301_000 }, "TooNew"]
  ] as const)("%s", ([, options, problem]) =>
    Effect.map(check(vector, options), (found) => assert.strictEqual(found, problem))
  )
})

describe("a secret", () => {
  it.each(["", "whsec_", "whsec_a", "whsec_not base64!", "whsec_A=BC", "whsec_AAAA-___"])("%j is none", (secret) =>
    assert.isUndefined(StandardWebhooks.readKey(secret))
  )
  it("may come without padding", () => assert.deepStrictEqual(keyOf("whsec_AQI"), keyOf("whsec_AQI=")))
})
