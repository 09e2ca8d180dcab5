import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import { request as undiciRequest } from "undici"
import { makeScrub } from "../../../src/internal/text/scrub.js"
import { safeCause, sentOf } from "../../../src/internal/http/transportCause.js"

const coded = (code: string, more: object = {}) => Object.assign(new Error(code), { code, ...more })
const within = (cause: unknown, depth = 1): unknown =>
  depth === 0 ? cause : new TypeError("fetch failed", { cause: within(cause, depth - 1) })
const all = (...errors: ReadonlyArray<unknown>) => new AggregateError(errors, "all attempts failed")
const connectTimeout = coded("ETIMEDOUT", { syscall: "connect" })

const loop = new Error("loop")
loop.cause = loop

describe("sentOf", () => {
  it.each<[string, unknown, "No" | "Maybe"]>([
    ["refused", coded("ECONNREFUSED"), "No"],
    ["no such host", coded("ENOTFOUND"), "No"],
    ["no answer from DNS", coded("EAI_AGAIN"), "No"],
    ["no route", coded("EHOSTUNREACH"), "No"],
    ["no free socket", coded("EMFILE"), "No"],
    ["undici's connect timeout", coded("UND_ERR_CONNECT_TIMEOUT"), "No"],
    ["a closed client", coded("UND_ERR_CLOSED"), "No"],
    ["a bad certificate", coded("CERT_HAS_EXPIRED"), "No"],
    ["another host's certificate", coded("ERR_TLS_CERT_ALTNAME_INVALID"), "No"],
    ["a connect that timed out", connectTimeout, "No"],
    ["a connection that timed out", coded("ETIMEDOUT", { syscall: "read" }), "Maybe"],
    ["a time-out of no known call", coded("ETIMEDOUT"), "Maybe"],
    ["a reset", coded("ECONNRESET"), "Maybe"],
    ["a broken pipe", coded("EPIPE"), "Maybe"],
    ["a closed socket", coded("UND_ERR_SOCKET"), "Maybe"],
    ["no headers in time", coded("UND_ERR_HEADERS_TIMEOUT"), "Maybe"],
    ["a body that stood still", coded("UND_ERR_BODY_TIMEOUT"), "Maybe"],
    ["a destroyed client", coded("UND_ERR_DESTROYED"), "Maybe"],
    ["an abort", new DOMException("aborted", "AbortError"), "Maybe"],
    ["an error without a code", new Error("ECONNREFUSED"), "Maybe"],
    ["a code that is no string", { code: 111 }, "Maybe"],
    ["nothing", undefined, "Maybe"],
    ["null", null, "Maybe"],
    ["a string", "ECONNREFUSED", "Maybe"],
    ["fetch around a refusal", within(coded("ECONNREFUSED")), "No"],
    ["fetch around a reset", within(coded("ECONNRESET")), "Maybe"],
    ["a refusal deep inside", within(coded("ECONNREFUSED"), 6), "No"],
    ["a refusal too deep to be looked for", within(coded("ECONNREFUSED"), 50), "Maybe"],
    ["an unknown code around a refusal", coded("ERR_OUTER", { cause: coded("ECONNREFUSED") }), "No"],
    ["two addresses that refused", within(all(coded("ECONNREFUSED"), coded("ECONNREFUSED"))), "No"],
    ["a refusal and a connect that timed out", all(coded("ECONNREFUSED"), connectTimeout), "No"],
    [
      "two connects that timed out, under their code",
      Object.assign(all(connectTimeout, connectTimeout), { code: "ETIMEDOUT" }),
      "No"
    ],
    ["a refusal and a reset", all(coded("ECONNREFUSED"), coded("ECONNRESET")), "Maybe"],
    ["an empty aggregate", all(), "Maybe"],
    ["a circle of causes", loop, "Maybe"],
    ["a circle of aggregates", Object.assign(loop, { errors: [loop] }), "Maybe"]
  ])("%s: %s", (_, cause, sent) => {
    assert.strictEqual(sentOf(cause), sent)
  })

  const portOf = (server: ReturnType<typeof createServer>) => (server.address() as AddressInfo).port
  const listening = async (onRequest: (destroy: () => void) => void) => {
    const server = createServer((request) => onRequest(() => void request.socket.destroy()))
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    return server
  }
  const close = (server: ReturnType<typeof createServer>) =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  const failure = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => assert.fail("expected a failure"),
      (error: unknown) => error
    )

  it("a real refused connection was not sent, with fetch and with undici", async () => {
    const server = await listening(() => undefined)
    const port = portOf(server)
    await close(server)
    assert.strictEqual(sentOf(await failure(fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: "x" }))), "No")
    assert.strictEqual(sentOf(await failure(undiciRequest(`http://localhost:${port}/`))), "No")
  })

  it("a real connection that is cut after the request may have been sent", async () => {
    const server = await listening((destroy) => destroy())
    const url = `http://127.0.0.1:${portOf(server)}/`
    try {
      assert.strictEqual(sentOf(await failure(fetch(url, { method: "POST", body: "x" }))), "Maybe")
      assert.strictEqual(sentOf(await failure(undiciRequest(url, { method: "POST", body: "x" }))), "Maybe")
    } finally {
      await close(server)
    }
  })
})

describe("safeCause", () => {
  const key = "rpa_7GZK0QSECRET"
  const planted = {
    request: { headers: { authorization: `Bearer ${key}` }, url: `https://x.example/?k=${key}` },
    headers: new Headers({ authorization: `Bearer ${key}` }),
    toJSON: () => ({ key })
  }
  const scrub = makeScrub([key])

  it.each<[string, unknown]>([
    ["an error with the request in it", Object.assign(new Error(`refused ${key}`), planted)],
    ["an error in an error", new Error("outer", { cause: Object.assign(coded("ECONNRESET"), planted) })],
    ["an error that is called like it", Object.assign(new Error("x"), { name: key })],
    ["a code like it", coded(key)],
    ["a stack like it", Object.assign(new Error("x"), { stack: key })],
    ["an aggregate", Object.assign(all(Object.assign(new Error(key), planted)), planted)],
    ["no error but an object", { ...planted, message: key }],
    ["a string", `socket hang up, ${key}`],
    ["an object as a cause", new Error("x", { cause: planted })],
    ["a circle", Object.assign(loop, planted)]
  ])("prints nothing of the key of %s", (_, cause) => {
    const copy = safeCause(cause, scrub)
    const texts = [
      JSON.stringify(copy),
      inspect(copy, { depth: 20, showHidden: true, getters: true }),
      String(copy),
      String(copy.stack),
      Cause.pretty(Cause.fail(copy), { renderErrorCause: true }),
      Cause.pretty(Cause.die(copy), { renderErrorCause: true })
    ]
    for (const text of texts) assert.notInclude(text, key)
  })

  it("keeps name, message and code, of the causes as well", () => {
    const copy = safeCause(
      new TypeError("fetch failed", { cause: coded("ECONNRESET", { name: "SocketError" }) }),
      scrub
    )
    const cause = copy.cause as NodeJS.ErrnoException
    assert.strictEqual(String(copy), "TypeError: fetch failed (ECONNRESET)")
    assert.strictEqual(String(cause), "SocketError: ECONNRESET")
    assert.strictEqual(cause.code, "ECONNRESET")
    assert.isFalse("code" in copy)
    assert.strictEqual(copy.stack, "TypeError: fetch failed (ECONNRESET)")
  })

  it.each<[unknown, string]>([
    [undefined, "unknown transport error"],
    [null, "unknown transport error"],
    [7, "unknown transport error"],
    ["hang up", "hang up"],
    [{}, "unknown transport error"]
  ])("of %j says %j", (cause, message) => {
    assert.strictEqual(safeCause(cause, scrub).message, message)
  })
})
