/**
 * Five thousand requests that should not be accepted, against a real server in a process of its own: it accepts none, does
 * not crash, keeps its memory, and goes on serving valid ones.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { connect } from "node:net"
import { Agent } from "undici"
import { utf8 } from "../../src/internal/text/bytes.js"
import { sha256 } from "../../src/internal/text/sha256.js"
import * as Token from "../../src/internal/webhooks/token.js"
import { spawnReceiver } from "../support/webhookProcess.js"

const secret = "a-secret-of-32-characters-for-tests"
const key: Token.SigningKey = { id: sha256(`effect-runpod key id ${secret}`).slice(0, 8), key: utf8(secret) }
const hour = 3_600_000

/** Chance that is the same in every run. */
const makeChance = (seed: number) => {
  let state = seed
  const fraction = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (count: number) => Math.floor(fraction() * count)
  const pick = <A>(values: readonly [A, ...ReadonlyArray<A>]): A => values[below(values.length)] ?? values[0]
  const bytes = (length: number) => Buffer.from(Array.from({ length }, () => below(256)))
  return { below, pick, bytes }
}

interface Attack {
  readonly method: string
  readonly path: string
  readonly body: string | Buffer
  readonly headers?: Record<string, string>
}

const job = (id: string, more: object = {}) =>
  JSON.stringify({ id, status: "COMPLETED", output: { ok: true }, ...more })

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

const makeAttacks = (seed: number, used: ReadonlyArray<string>) => {
  const { below, bytes, pick } = makeChance(seed)
  let count = 0
  const grant = (more: Partial<Token.Grant> = {}) =>
    Token.issue(key, { endpointId: "ep", key: `attack ${count++}`, expiresAt: Date.now() + hour, ...more })
  const at = (token: string) => `/hooks?token=${token}`
  const someJob = () => job(`forged-${count++}`)
  const replaceAt = (text: string, index: number, letter: string) =>
    text.slice(0, index) + letter + text.slice(index + 1)

  const forgedToken = (): string => {
    const token = grant()
    const parts = token.split(".")
    const [version = "", id = "", expiry = "", endpoint = "", name = "", signature = ""] = parts
    switch (below(12)) {
      case 0:
        return token.slice(0, below(token.length))
      case 1:
        return token + (letters[below(letters.length)] ?? "A").repeat(1 + below(4))
      case 2: {
        const index = below(token.length)
        const letter = letters[below(letters.length)] ?? "A"
        return token[index] === letter ? token.slice(1) : replaceAt(token, index, letter)
      }
      case 3:
        return [version, id, expiry, endpoint, name, bytes(32).toString("base64url")].join(".")
      case 4:
        return [version, id, "zzzzzz", endpoint, name, signature].join(".")
      case 5:
        return [version, id, expiry, Buffer.from("other").toString("base64url"), name, signature].join(".")
      case 6:
        return [version, id, expiry, endpoint, Buffer.from("other").toString("base64url"), signature].join(".")
      case 7:
        return [version, "unknown", expiry, endpoint, name, signature].join(".")
      case 8:
        return Token.issue(
          { id: key.id, key: utf8("another secret altogether") },
          { endpointId: "ep", key: "k", expiresAt: Date.now() + hour }
        )
      case 9:
        return encodeURIComponent(bytes(below(300)).toString("latin1"))
      case 10:
        return `${token}&token=${grant()}`
      default:
        return `%76${token.slice(1)}`
    }
  }

  const garbage = (): string | Buffer =>
    pick<() => string | Buffer>([
      () => "",
      () => bytes(1 + below(500)),
      () => job("x").slice(0, below(20)),
      () => "[".repeat(30_000),
      () => `{"a":${"[".repeat(10_000)}${"]".repeat(10_000)}}`,
      () => "null",
      () => "[]",
      () => `"${"x".repeat(below(2000))}"`,
      () => job("", { id: "" }),
      () => JSON.stringify({ id: below(1000), status: "COMPLETED" }),
      () => JSON.stringify({ id: "no-status" }),
      () => JSON.stringify({ id: "a job", status: 200 }),
      () => `{"__proto__":{"id":"p","status":"COMPLETED"}}`,
      () => Buffer.from([0xff, 0xfe, 0x7b, 0x7d]),
      () => "<!DOCTYPE html><html></html>"
    ])()

  const kinds: ReadonlyArray<readonly [weight: number, () => Attack]> = [
    [40, () => ({ method: "POST", path: at(forgedToken()), body: someJob() })],
    [
      10,
      () => ({ method: "POST", path: at(grant({ expiresAt: Date.now() - 1000 - below(100 * hour) })), body: someJob() })
    ],
    [10, () => ({ method: "POST", path: at(pick([used[0] ?? "", ...used])), body: someJob() })],
    [
      10,
      () => ({
        method: pick(["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY"]),
        path: at(grant()),
        body: someJob()
      })
    ],
    [15, () => ({ method: "POST", path: at(grant()), body: garbage() })],
    [
      3,
      () => ({ method: "POST", path: at(grant()), body: job("large", { output: "x".repeat(65_536 + below(60_000)) }) })
    ],
    [
      4,
      () => ({
        method: "POST",
        path: pick(["/", "/hook", "/hooks/", "//hooks", "/HOOKS", "/hooks%2f", "/%68ooks"]) + `?token=${grant()}`,
        body: someJob()
      })
    ],
    [
      4,
      () => ({
        method: "POST",
        path: pick(["/hooks", "/hooks?", "/hooks?tok=", "/hooks?TOKEN=a", "/hooks?token", "/hooks?token="]),
        body: someJob()
      })
    ],
    [
      4,
      () => ({
        method: "POST",
        path: "/hooks",
        body: someJob(),
        headers: {
          "webhook-id": "msg_1",
          "webhook-timestamp": String(Math.floor(Date.now() / 1000)),
          "webhook-signature": `v1,${bytes(32).toString("base64")}`
        }
      })
    ]
  ]
  const total = kinds.reduce((sum, [weight]) => sum + weight, 0)
  const next = (): Attack => {
    let left = below(total)
    for (const [weight, make] of kinds) if ((left -= weight) < 0) return make()
    return { method: "POST", path: "/hooks", body: "" }
  }
  return { next, grant, bytes, below, pick }
}

/** Writes to a socket, in pieces where there are several, and gives what came back until it was closed. */
const talk = (url: string, pieces: ReadonlyArray<string | Buffer>, gap: number, patience = 6_000) =>
  Effect.async<string>((resume) => {
    const { hostname, port } = new URL(url)
    let heard = ""
    let isOver = false
    const socket = connect(Number(port), hostname, () => {
      let index = 0
      const write = () => {
        if (isOver) return
        const piece = pieces[index++]
        if (piece === undefined) return void (gap === 0 && socket.end())
        socket.write(piece)
        setTimeout(write, gap)
      }
      write()
    })
    const end = () => {
      if (isOver) return
      isOver = true
      socket.destroy()
      resume(Effect.succeed(heard))
    }
    socket.on("data", (chunk: Buffer) => (heard += chunk.toString("latin1")))
    socket.on("close", end)
    socket.on("error", end)
    socket.setTimeout(patience, end)
    setTimeout(end, patience)
  })

describe("five thousand requests that should not be accepted", () => {
  it.scopedLive(
    "none is, the server stays up and small, and valid ones get through meanwhile",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const file = `${yield* fs.makeTempDirectoryScoped()}/webhooks.jsonl`
        const receiver = yield* spawnReceiver({ file })
        const url = yield* receiver.begin(0)
        const { origin } = new URL(url)
        const agent = yield* Effect.acquireRelease(
          Effect.sync(() => new Agent({ connections: 32, headersTimeout: 10_000 })),
          (agent) => Effect.promise(() => agent.destroy())
        )
        /** The status of the answer; 0 when the connection was closed instead. */
        const send = ({ body, headers = {}, method, path }: Attack) =>
          Effect.promise(async () => {
            try {
              const response = await agent.request({ origin, path, method, headers, body })
              await response.body.dump()
              return response.statusCode
            } catch {
              return 0
            }
          })

        const valid = (n: number): Attack => ({
          method: "POST",
          path: `/hooks?token=${Token.issue(key, { endpointId: "ep", key: `valid ${n}`, expiresAt: Date.now() + hour })}`,
          body: job(`job-${n}`)
        })
        const used = Array.from({ length: 20 }, (_, n) => valid(n))
        for (const delivery of used) assert.strictEqual(yield* send(delivery), 200)
        yield* Effect.sleep("500 millis")
        const before = Math.max(...receiver.memory)

        const attacks = makeAttacks(
          20261124,
          used.map(({ path }) => path.split("token=")[1] ?? "")
        )
        const answers = new Map<number, number>()
        const note = (status: number) => answers.set(status, (answers.get(status) ?? 0) + 1)

        // Valid ones all the while, one after the other.
        let sent = used.length
        let slowest = 0
        let isOver = false
        const deliveries = yield* Effect.fork(
          Effect.gen(function* () {
            while (!isOver) {
              const started = performance.now()
              assert.strictEqual(yield* send(valid(sent++)), 200)
              slowest = Math.max(slowest, performance.now() - started)
              yield* Effect.sleep("10 millis")
            }
          })
        )

        // 150 connections that drip bodies under genuine tokens, and 50 that drip headers.
        const head = (length: number) =>
          `POST /hooks?token=${attacks.grant()} HTTP/1.1\r\nhost: a\r\ncontent-length: ${length}\r\n\r\n`
        const drips = yield* Effect.forEach(
          Array.from({ length: 200 }, (_, n) => n),
          (n) => {
            const whole = n % 4 === 0 ? "POST /hooks HTTP/1.1\r\nx-slow: " : `${head(400)}${job(`dripped-${n}`)}`
            const start = n % 4 === 0 ? 1 : whole.indexOf("\r\n\r\n") + 4
            return Effect.fork(talk(url, [whole.slice(0, start), ...whole.slice(start)], 150, 3_000))
          }
        )

        // 4,400 requests that are HTTP, and 400 that are not, or break off.
        yield* Effect.all(
          [
            Effect.forEach(
              Array.from({ length: 4_400 }),
              () => Effect.flatMap(Effect.sync(attacks.next), (attack) => Effect.map(send(attack), note)),
              { concurrency: 32, discard: true }
            ),
            Effect.forEach(
              Array.from({ length: 400 }, (_, n) => n),
              (n) =>
                Effect.map(
                  n % 2 === 0
                    ? talk(url, [attacks.bytes(1 + attacks.below(300))], 0)
                    : talk(url, [`${head(500)}${job(`broken-${n}`)}`], 0),
                  (heard) => assert.notMatch(heard, /HTTP\/1\.1 2/)
                ),
              { concurrency: 16, discard: true }
            )
          ],
          { concurrency: 2 }
        )
        for (const drip of drips) assert.notMatch(yield* Fiber.join(drip), /HTTP\/1\.1 2/)
        isOver = true
        yield* Fiber.join(deliveries)

        // None accepted; each refused, and as a server that is well refuses.
        assert.deepStrictEqual(
          [...answers.keys()].filter((status) => ![0, 400, 401, 404, 405, 413].includes(status)),
          []
        )
        assert.isBelow(answers.get(0) ?? 0, 400)
        assert.isTrue(receiver.isRunning())
        // What was valid is there, once, and nothing else.
        yield* Effect.sleep("50 millis").pipe(
          Effect.repeat({ until: () => receiver.events.length >= sent }),
          Effect.timeout("5 seconds")
        )
        assert.sameMembers(
          receiver.events.map(({ jobId }) => jobId),
          Array.from({ length: sent }, (_, n) => `job-${n}`)
        )
        assert.isAbove(sent, used.length + 20)
        assert.isBelow(slowest, 5_000)
        // Memory: measured as the system sees it, garbage included.
        assert.isBelow((receiver.memory.at(-1) ?? 0) - before, 150 * 1024 * 1024)
        assert.isBelow(Math.max(...receiver.memory), 400 * 1024 * 1024)
      }).pipe(Effect.provide(NodeFileSystem.layer)),
    { timeout: 60_000 }
  )
})
