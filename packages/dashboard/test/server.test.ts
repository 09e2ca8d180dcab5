import { describe, expect, it } from "@effect/vitest"
import * as Http from "node:http"
import * as Net from "node:net"
import { Api, Source } from "effect-runpod-dashboard"
import * as NodeDashboard from "effect-runpod-dashboard/NodeDashboard"
import { BatchJournal } from "effect-runpod"
import { NodeContext } from "@effect/platform-node"
import { Effect, Exit, Redacted, Schema, Scope } from "effect"
import { mkdtempSync } from "node:fs"
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

  it.scopedLive("goes on after the event that a client has seen last, and ends its events with its scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { origin } = yield* Scope.extend(dashboard(1), scope)
      const history = Effect.map(send(origin, "/api/history?source=upscaler"), ({ text }) =>
        Schema.decodeUnknownSync(Schema.parseJson(Schema.Array(Api.Sample)))(text)
      )
      yield* until(history, ({ length }) => length >= 5)
      const all = yield* Effect.fork(send(origin, "/api/events?source=upscaler"))
      const later = yield* Effect.fork(send(origin, "/api/events?source=upscaler", { "last-event-id": "3" }))
      const { length } = yield* history
      yield* until(history, (samples) => samples.length >= length + 4)
      yield* Effect.timeout(Scope.close(scope, Exit.void), "5 seconds")
      const idsOf = ({ text }: Answer) => [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
      const ids = idsOf(yield* all)
      expect(ids.slice(0, 4)).toEqual([1, 2, 3, 4])
      expect(ids).toEqual(ids.map((_, i) => i + 1))
      expect(idsOf(yield* later)[0]).toBe(4)
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
