import { describe, expect, it } from "@effect/vitest"
import * as Http from "node:http"
import * as Net from "node:net"
import { Api, Source } from "effect-runpod-dashboard"
import * as NodeDashboard from "effect-runpod-dashboard/NodeDashboard"
import { BatchJournal } from "effect-runpod"
import { NodeContext } from "@effect/platform-node"
import { Effect, Exit, Fiber, Random, Redacted, Schema, Scope } from "effect"
import { execFileSync } from "node:child_process"
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { beforeAll } from "vitest"
import { build } from "../build.mjs"
import { fleet } from "./support/fleet.js"
import { until } from "./support/until.js"

beforeAll(() => build())

interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly text: string
}

/** A request with any `Host` and any path, as no browser or `fetch` would send it. */
const send = (origin: string, path: string, headers: Record<string, string> = {}, body?: unknown) =>
  Effect.async<Answer>((resume) => {
    const { hostname, port } = new URL(origin)
    const method = body === undefined ? "GET" : "POST"
    const request = Http.request({
      hostname,
      port,
      path,
      method,
      headers: { "content-type": "application/json", ...headers }
    })
    request.on("response", (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (piece: string) => (text += piece))
      response.on("close", () =>
        resume(Effect.succeed({ status: response.statusCode ?? 0, headers: response.headers, text }))
      )
    })
    request.on("error", () => resume(Effect.succeed({ status: 0, headers: {}, text: "" })))
    request.end(body === undefined ? undefined : JSON.stringify(body))
  })

const token = Redacted.make("0123456789abcdef0123456789abcdef")
const bearer = { authorization: `Bearer ${Redacted.value(token)}` }

const dashboard = (jobs: number) =>
  Effect.gen(function* () {
    const { cost, emulator, runPod } = yield* fleet(jobs)
    const source = Source.emulator(emulator, "upscaler", { cost })
    const { origin } = yield* NodeDashboard.serve({ sources: [source], token, interval: "50 millis" })
    return { emulator, origin, runPod }
  })

/** The text of a stream of events until something holds of it; then the client is gone. */
const readEvents = (
  origin: string,
  { after, lastEventId, until }: { after?: string; lastEventId?: string; until: (text: string) => boolean }
) =>
  Effect.async<string>((resume) => {
    const url = new URL(`/api/events?source=upscaler`, origin)
    if (after !== undefined) url.searchParams.set("after", after)
    const request = Http.get(url, { headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId } })
    request.on("error", () => undefined)
    request.on("response", (response) => {
      let text = ""
      response.on("error", () => undefined)
      response.setEncoding("utf8").on("data", (piece: string) => {
        text += piece
        const whole = text.slice(0, text.lastIndexOf("\n\n") + 2)
        if (!until(whole)) return
        request.destroy()
        resume(Effect.succeed(whole))
      })
    })
    return Effect.sync(() => request.destroy())
  }).pipe(
    Effect.timeoutFail({ duration: "12 seconds", onTimeout: () => new Error(`no such events after ${lastEventId}`) }),
    Effect.orDie
  )

/** The ids of the samples. */
const idsOf = (text: string) => [...text.matchAll(/^id: (.*)\nevent: sample$/gm)].map(([, id = ""]) => id)
const seqOf = (id: string) => Number(id.split("-").at(-1))
const beginOf = (text: string) => {
  const [, data = ""] = /^retry: 1000\nid: [0-9a-z]+-\d+\nevent: begin\ndata: (.*)\n\n/.exec(text) ?? []
  return Schema.decodeUnknownSync(Schema.parseJson(Api.Begin))(data)
}

const listed = (origin: string, query: string) =>
  Effect.map(send(origin, `/api/jobs?source=upscaler&${query}`), ({ text }) =>
    Schema.decodeUnknownSync(Schema.parseJson(Schema.Struct({ total: Schema.Number, jobs: Schema.Array(Api.Job) })))(
      text
    )
  )

describe("a dashboard's server", () => {
  it.scopedLive("answers only under its own names, and says what a page may load", () =>
    Effect.gen(function* () {
      const { origin } = yield* dashboard(0)
      const page = yield* send(origin, "/")
      expect([page.status, page.headers["content-type"]]).toEqual([200, "text/html; charset=utf-8"])
      expect(page.headers["content-security-policy"]).toContain("default-src 'self'")
      for (const host of [
        "attacker.example",
        "attacker.example:80",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example"
      ]) {
        const refused = yield* send(origin, "/api/sources", { host })
        expect([refused.status, refused.text.includes("upscaler")]).toEqual([421, false])
      }
      expect((yield* send(origin, "/api/sources", { "sec-fetch-site": "cross-site" })).status).toBe(421)
      expect((yield* send(origin, "/api/sources", { host: "localhost:1234" })).status).toBe(200)
    })
  )

  it.scopedLive("serves the files of the page, and no others", () =>
    Effect.gen(function* () {
      const { origin } = yield* dashboard(0)
      for (const path of [
        "/../package.json",
        "/..%2fpackage.json",
        "/%2e%2e/index.js",
        "//etc/passwd",
        "/page.js/../../index.js",
        "/__proto__",
        "/constructor"
      ]) {
        expect([path, (yield* send(origin, path)).status]).toEqual([path, 404])
      }
      expect((yield* send(origin, "/page.js")).headers["content-type"]).toContain("javascript")
    })
  )

  it.scopedLive("does nothing and shows no inputs without its token", () =>
    Effect.gen(function* () {
      const { emulator, origin } = yield* dashboard(5)
      const { jobs } = yield* until(listed(origin, "limit=10"), ({ total }) => total === 5)
      expect(jobs).toHaveLength(5)
      expect(JSON.stringify(jobs)).not.toContain("input")
      const body = { source: "upscaler", id: jobs[0]!.id }
      for (const headers of [
        {},
        { authorization: "Bearer " },
        { authorization: "Bearer 0123456789abcdef0123456789abcdeX" }
      ]) {
        for (const path of [
          "/api/payload",
          "/api/actions/cancel",
          "/api/actions/retry",
          "/api/actions/workers",
          "/api/actions/faults"
        ]) {
          const answer = yield* send(
            origin,
            path,
            headers,
            path.endsWith("workers") ? { source: "upscaler", max: 0 } : { ...body, names: [] }
          )
          expect([path, answer.status]).toEqual([path, 401])
        }
      }
      const payload = yield* send(origin, "/api/payload", bearer, body)
      expect([payload.status, JSON.parse(payload.text)]).toMatchObject([200, { input: { n: 5 } }])
      const open = (yield* listed(origin, "status=IN_PROGRESS")).jobs.concat(
        (yield* listed(origin, "status=IN_QUEUE")).jobs
      )
      expect((yield* send(origin, "/api/actions/cancel", bearer, { ...body, id: open[0]!.id })).status).toBe(200)
      expect((yield* emulator.counts).ended.CANCELLED).toBe(1)
      const again = yield* send(origin, "/api/actions/cancel", bearer, { ...body, id: open[0]!.id })
      expect([again.status, again.text]).toEqual([409, expect.stringContaining("has ended")])
    })
  )

  it.scopedLive("goes on after the event that a client has seen last, without a gap and without one twice", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { origin } = yield* Scope.extend(dashboard(0), scope)
      const all = yield* Effect.fork(send(origin, "/api/events?source=upscaler"))
      const seen: Array<string> = []
      for (let i = 0; i < 4; i++) {
        const last = seen.at(-1)
        const text = yield* readEvents(origin, {
          until: (text) => idsOf(text).length >= 3,
          ...(last === undefined ? {} : i % 2 === 0 ? { lastEventId: last } : { after: last })
        })
        expect(beginOf(text).after).toBe(last === undefined ? 0 : seqOf(last))
        seen.push(...idsOf(text))
      }
      yield* Effect.timeout(Scope.close(scope, Exit.void), "5 seconds")
      expect(seen.map(seqOf)).toEqual(seen.map((_, i) => i + 1))
      expect(idsOf((yield* all).text).slice(0, seen.length)).toEqual(seen)
    })
  )

  it.scopedLive("starts anew after an id that this server has not given", () =>
    Effect.gen(function* () {
      const before = yield* dashboard(0)
      const foreign = idsOf(
        yield* readEvents(before.origin, { until: (text) => idsOf(text).some((id) => seqOf(id) >= 2) })
      ).at(-1)!
      const { origin } = yield* dashboard(0)
      const text = yield* readEvents(origin, { until: (text) => idsOf(text).some((id) => seqOf(id) >= 4) })
      const { life } = beginOf(text)
      for (const lastEventId of [
        foreign,
        "3",
        "",
        "nonsense",
        "NaN",
        "Infinity",
        "-1",
        `${life}`,
        `${life}-`,
        `${life}--1`,
        `${life}-1.5`,
        `${life}-1e0`,
        `${life}-0x1`,
        `${life}-999999`,
        `${life}-9007199254740993`,
        `${life}-${"9".repeat(400)}`,
        `${life}-3, ${life}-3`,
        ` ${life} -3`
      ]) {
        const again = yield* readEvents(origin, { lastEventId, until: (text) => idsOf(text).length >= 2 })
        expect([lastEventId, beginOf(again)]).toEqual([lastEventId, { life, after: 0, heartbeat: 5_000 }])
        expect([lastEventId, idsOf(again).slice(0, 2)]).toEqual([lastEventId, [`${life}-1`, `${life}-2`]])
      }
    })
  )

  it.scopedLive("says that it is there when there are no samples", () =>
    Effect.gen(function* () {
      const { emulator } = yield* fleet(0)
      const source = Source.emulator(emulator, "upscaler")
      const { origin } = yield* NodeDashboard.serve({ sources: [source], token, interval: "1 hour" })
      const text = yield* readEvents(origin, { until: (text) => text.split("event: alive\n").length > 2 })
      expect(idsOf(text)).toHaveLength(1)
    })
  )

  it.scopedLive("has another life after each start, even if its chance is the same", () =>
    Effect.gen(function* () {
      const begins = Effect.scoped(
        Effect.gen(function* () {
          const { origin } = yield* dashboard(0)
          return beginOf(yield* readEvents(origin, { until: (text) => idsOf(text).length > 0 })).life
        })
      )
      const lives = yield* Effect.replicateEffect(Effect.withRandom(begins, Random.make("same")), 3)
      expect(new Set(lives).size).toBe(3)
    })
  )

  it.scopedLive("tells whether a token is right, and does nothing else", () =>
    Effect.gen(function* () {
      const { origin } = yield* dashboard(0)
      expect((yield* send(origin, "/api/token", {}, {})).status).toBe(401)
      expect((yield* send(origin, "/api/token", { authorization: "Bearer wrong" }, {})).status).toBe(401)
      const right = yield* send(origin, "/api/token", bearer, {})
      expect([right.status, right.text]).toEqual([200, '{"done":true}'])
    })
  )

  it.scopedLive("ends although a client stays connected with half a request", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { origin } = yield* Scope.extend(dashboard(0), scope)
      const socket = Net.connect(Number(new URL(origin).port), "127.0.0.1")
      yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
      socket.on("error", () => undefined)
      yield* Effect.async<void>((resume) => {
        socket.write("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", () => resume(Effect.void))
      })
      // An answer to another shows that the server has taken the connection.
      yield* send(origin, "/api/sources")
      yield* Scope.close(scope, Exit.void).pipe(Effect.disconnect, Effect.timeout("20 seconds"))
    })
  )

  it.scopedLive("has the document of its API", () =>
    Effect.gen(function* () {
      const { origin } = yield* dashboard(0)
      const { paths } = JSON.parse((yield* send(origin, "/api/openapi.json")).text) as { paths: object }
      expect(Object.keys(paths)).toContain("/api/actions/cancel")
    })
  )

  it.scopedLive("follows a journal while it is written", () =>
    Effect.gen(function* () {
      const path = `${mkdtempSync(`${tmpdir()}/journal-`)}/it's a batch.jsonl`
      const source = yield* Source.journal(path, { name: "upscaler" })
      const { origin } = yield* NodeDashboard.serve({ sources: [source], token, interval: "50 millis" })
      expect((yield* listed(origin, "")).total).toBe(0)
      const journal = yield* BatchJournal.file(path)
      yield* journal.begin("upscaler")
      const item = { key: "<b>a</b>", hash: "h", at: 1 }
      yield* journal.append({ _tag: "Intent", ...item })
      yield* journal.append({ _tag: "Submitted", ...item, jobId: "job", attempts: 1 })
      const submitted = yield* until(listed(origin, "status=SUBMITTED"), ({ total }) => total > 0)
      expect(submitted.jobs).toMatchObject([{ id: item.key, status: "SUBMITTED", jobId: "job" }])
      yield* journal.append({
        _tag: "Settled",
        ...item,
        jobId: "job",
        attempts: 1,
        status: "FAILED",
        error: "no",
        output: "secret",
        delayTime: 5,
        executionTime: 7
      })
      const failed = yield* until(listed(origin, "status=FAILED"), ({ total }) => total > 0)
      expect(failed.jobs).toMatchObject([{ id: item.key, error: "no", executionTime: 7 }])
      const sources = JSON.parse((yield* send(origin, "/api/sources")).text) as ReadonlyArray<{ resume: string }>
      expect(sources[0]!.resume).toBe(`effect-runpod batch resume '${path.replace("'", `'\\''`)}'`)
    }).pipe(Effect.provide(NodeContext.layer))
  )
})

describe("the file of a token", () => {
  const folder = () => mkdtempSync(`${tmpdir()}/token-`)
  const served = (tokenFile: string) => NodeDashboard.serve({ sources: [], tokenFile })
  const tokenOf = ({ url }: NodeDashboard.Server) => new URL(Redacted.value(url)).hash.replace("#token=", "")
  const modeOf = (path: string) => (lstatSync(path).mode & 0o777).toString(8)

  it.scopedLive("is made for this user only, and has the token of the next server, too", () =>
    Effect.gen(function* () {
      const root = folder()
      const path = `${root}/state/effect-runpod/token`
      const first = yield* Effect.scoped(Effect.map(served(path), tokenOf))
      expect(first).toMatch(/^[\w-]{32}$/)
      expect([modeOf(path), modeOf(`${root}/state`), modeOf(`${root}/state/effect-runpod`)]).toEqual([
        "600",
        "700",
        "700"
      ])
      const server = yield* served(path)
      expect(tokenOf(server)).toBe(first)
      const answer = yield* send(server.origin, "/api/token", { authorization: `Bearer ${first}` }, {})
      expect(answer.status).toBe(200)
      expect(readdirSync(`${root}/state/effect-runpod`)).toEqual(["token"])
    })
  )

  it.scopedLive("is the same for servers that start at the same time", () =>
    Effect.gen(function* () {
      const path = `${folder()}/token`
      const servers = yield* Effect.all(
        Array.from({ length: 8 }, () => served(path)),
        { concurrency: "unbounded" }
      )
      expect(new Set(servers.map(tokenOf)).size).toBe(1)
      expect(readFileSync(path, "utf8")).toBe(`${tokenOf(servers[0]!)}\n`)
    })
  )

  it.scopedLive("may be written while another server reads it", () =>
    Effect.gen(function* () {
      const path = `${folder()}/token`
      writeFileSync(path, "", { mode: 0o600 })
      const server = yield* Effect.fork(served(path))
      yield* Effect.sleep("200 millis")
      writeFileSync(path, "0123456789abcdef\n")
      expect(tokenOf(yield* Fiber.join(server))).toBe("0123456789abcdef")
    })
  )

  it.scopedLive("does not count where a token is given", () =>
    Effect.gen(function* () {
      const path = `${folder()}/token`
      const server = yield* NodeDashboard.serve({ sources: [], token, tokenFile: path })
      expect([tokenOf(server), existsSync(path)]).toEqual([Redacted.value(token), false])
    })
  )

  it.scopedLive(
    "is refused, and left as it is, where others could have made or read it, and where it has no token",
    () =>
      Effect.gen(function* () {
        const secret = "0123456789abcdef"
        const made = (content: string, mode: number) => (path: string) => {
          writeFileSync(path, content)
          chmodSync(path, mode)
        }
        const given = (content: string) => (path: string) => {
          made(content, 0o600)(path)
          chownSync(path, 12_345, 12_345)
        }
        for (const [make, says] of [
          [made(secret, 0o640), "other users have access to it"],
          [made(secret, 0o604), "other users have access to it"],
          [made(secret, 0o620), "other users have access to it"],
          [made("0123456789abcde", 0o600), "it has no token"],
          [made(`${secret} ${secret}`, 0o600), "it has no token"],
          [made(`${secret}\n${secret}\n`, 0o600), "it has no token"],
          [made(secret.repeat(1_000), 0o600), "it has no token"],
          [made("", 0o600), "it is empty"],
          [(path: string) => mkdirSync(path), "it is not a file"],
          [(path: string) => execFileSync("mkfifo", ["-m", "600", path]), "it is not a file"],
          [
            (path: string) => {
              made(secret, 0o600)(`${path}.there`)
              symlinkSync(`${path}.there`, path)
            },
            "it is a symbolic link"
          ],
          [(path: string) => symlinkSync(`${path}.nowhere`, path), "it is a symbolic link"],
          // Only root may give a file away.
          ...(process.getuid?.() === 0 ? [[given(secret), "it belongs to another user"] as const] : [])
        ] as const) {
          const path = `${folder()}/token`
          make(path)
          const before = lstatSync(path)
          const error = yield* Effect.flip(served(path))
          expect(error).toBeInstanceOf(NodeDashboard.TokenFileError)
          expect(error.message).toContain(says)
          expect(JSON.stringify(error) + error.message).not.toContain("0123456789")
          const after = lstatSync(path)
          expect([after.ino, after.mode, after.size]).toEqual([before.ino, before.mode, before.size])
          expect(existsSync(`${path}.nowhere`)).toBe(false)
        }
        const blocked = `${folder()}/file`
        writeFileSync(blocked, "")
        expect((yield* Effect.flip(served(`${blocked}/token`))).message).toContain("the system says ENOTDIR")
      })
  )
})
