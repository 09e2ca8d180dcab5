import { describe, expect, it } from "@effect/vitest"
import { Source } from "effect-runpod-dashboard"
import * as NodeDashboard from "effect-runpod-dashboard/NodeDashboard"
import { Endpoint, RateLimits } from "effect-runpod"
import { Fault } from "effect-runpod/Emulator"
import { RunPod } from "effect-runpod/RunPod"
import { Effect, Exit, Redacted, Schema, Scope } from "effect"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs"
import * as Http from "node:http"
import { tmpdir } from "node:os"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { type Browser, chromium, type Page } from "playwright-core"
import { afterAll, beforeAll } from "vitest"
import { build } from "../build.mjs"
import { fleet } from "./support/fleet.js"
import { listed } from "./support/listed.js"
import { proxyTo } from "./support/proxy.js"

/** Where pictures go; without it none are made. */
const pictures = process.env["SCREENSHOTS"]

const browser: { current?: Browser } = {}
beforeAll(async () => {
  await build()
  browser.current = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] })
})
afterAll(() => browser.current?.close())

/** A page, and what its console said. What the policy of its content refuses is an error there, too. */
const openPage = (url: string, colorScheme: "light" | "dark" = "light") =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const context = await browser.current!.newContext({ colorScheme, viewport: { width: 1200, height: 900 } })
      const page = await context.newPage()
      const said: Array<string> = []
      page.on("console", (message) => said.push(message.text()))
      page.on("pageerror", (error) => said.push(String(error)))
      page.on("requestfailed", (request) => {
        if (!request.url().includes("/api/")) said.push(`${request.url()} failed`)
      })
      await page.goto(url)
      return { page, said }
    }),
    ({ page }) => Effect.promise(() => page.context().close())
  )

const does = <A>(what: () => Promise<A>) => Effect.promise(what)

const picture = async (page: Page, name: string) => {
  if (pictures === undefined) return
  mkdirSync(pictures, { recursive: true })
  for (const [suffix, width] of [
    ["-narrow", 700],
    ["", 1200]
  ] as const) {
    await page.setViewportSize({ width, height: 900 })
    await page.waitForTimeout(100)
    await page.screenshot({ path: `${pictures}/${name}${suffix}.png` })
  }
}

const dashboard = (jobs: number, options = {}) =>
  Effect.gen(function* () {
    const { cost, emulator } = yield* fleet(jobs, options)
    const source = Source.emulator(emulator, "upscaler", { cost })
    const { url } = yield* NodeDashboard.serve({ sources: [source], interval: "200 millis" })
    return { emulator, url: Redacted.value(url) }
  })

const see = (page: Page, text: string | RegExp) => page.getByText(text).first().waitFor({ timeout: 10_000 })
const view = (page: Page, name: string) => page.getByRole("navigation").getByRole("link", { name }).click()

describe("the page", () => {
  it("is at most 60 KB, compressed", () => {
    const folder = fileURLToPath(new URL("../dist/page/", import.meta.url))
    const sizes = readdirSync(folder).map((file) => gzipSync(readFileSync(`${folder}${file}`)).byteLength)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(60 * 1024)
  })

  it.scopedLive("draws each view of a fleet, and says nothing on its console", () =>
    Effect.gen(function* () {
      const { url } = yield* dashboard(160)
      for (const scheme of ["light", "dark"] as const) {
        const { page, said } = yield* openPage(url, scheme)
        const suffix = scheme === "dark" ? "-dark" : ""
        yield* does(async () => {
          await see(page, "Running workers")
          await see(page, /Busy: /)
          expect(await page.locator("canvas").count()).toBe(2)
          expect(new URL(page.url()).hash).toBe("")
          await page.waitForTimeout(scheme === "light" ? 4_000 : 500)
          await picture(page, `fleet${suffix}`)
          await view(page, "Batch")
          await see(page, /FAILED: .*out of memory/)
          expect(await page.locator("meter").count()).toBeGreaterThan(1)
          await picture(page, `batch${suffix}`)
          await view(page, "Faults and limits")
          await see(page, "Answers 429")
          await picture(page, `limits${suffix}`)
          await view(page, "Cost")
          await see(page, "$5.0000")
          await picture(page, `cost${suffix}`)
          await view(page, "Jobs")
          await page.getByLabel("Status").selectOption("FAILED")
          await see(page, /out of memory/)
          expect(new URL(page.url()).searchParams.get("status")).toBe("FAILED")
          await picture(page, `jobs${suffix}`)
          // What a worker says is text, whatever it looks like.
          await page.locator('[role="row"] a').first().click()
          await see(page, /cold start|until it was seen|queued/)
          await page.getByRole("button", { name: "Show input and output" }).click()
          await page.getByLabel("Input and output").waitFor()
          await picture(page, `job${suffix}`)
          expect(await page.title()).toBe("effect-runpod dashboard")
          expect(await page.locator("main img, main script").count()).toBe(0)
          expect(said).toEqual([])
        })
      }
    })
  )

  it.scopedLive(
    "shows what happened about a job of the program itself, and what its requests waited for the limits",
    () =>
      Effect.gen(function* () {
        const limits = RateLimits.make({ run: { limit: 3, window: "3 seconds" } })
        const { emulator, runPod } = yield* fleet(
          0,
          { coldStart: 0, handler: () => Effect.as(Effect.sleep("1500 millis"), 1) },
          limits
        )
        const source = yield* Source.process("upscaler", { name: "mine", limits })
        const spans = yield* Source.JobSpans
        yield* emulator.setFaults([
          Fault.rateLimited({ operations: ["run"], times: 1, retryAfter: "1 second" }),
          Fault.serverError({ operations: ["status", "statusSync"], times: 2, status: 503 })
        ])
        const { url } = yield* NodeDashboard.serve({ sources: [source], interval: "200 millis" })
        const endpoint = yield* Effect.provideService(
          Endpoint.make("upscaler", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown }),
          RunPod,
          runPod
        )
        yield* Effect.forEach([1, 2, 3, 4, 5], (n) => endpoint.call({ n }), { concurrency: 5 })
        const { jobs } = yield* spans.changes("upscaler", 0)
        const all = yield* Effect.forEach(jobs, ({ id }) =>
          Effect.map(spans.events("upscaler", id), (events) => ({ id, events }))
        )
        const throttled = all.find(({ events }) => events.some(({ kind }) => kind === "throttled"))
        const { page, said } = yield* openPage(Redacted.value(url).replace("/#", "/?view=limits#"))
        yield* does(async () => {
          const row = page.locator("tr", { hasText: "3 in 3.0 s" })
          await row.getByLabel(/^run: \d+ %$/).waitFor()
          await picture(page, "waits")
          await page.goto(`${url.pipe(Redacted.value).split("/#")[0]}/?view=jobs&job=${throttled?.id}`)
          const table = page.getByRole("table", { name: "What happened about this job" })
          await table.getByText("answer 429").waitFor()
          expect(await table.locator("tbody tr").count()).toBe(throttled?.events.length)
          await table.getByText("request sent again").waitFor()
          expect(await page.locator(".mark").count()).toBe(throttled?.events.length)
          expect(await page.locator(".mark.throttled").count()).toBe(1)
          const axis = page.getByRole("img", { name: /^submitting .*running .*Answers 429: 1/ })
          const box = await axis.boundingBox()
          for (const mark of await page.locator(".mark").all()) {
            const { width = 0, x = 0 } = (await mark.boundingBox()) ?? {}
            expect(x).toBeGreaterThanOrEqual(box!.x)
            expect(x + width).toBeLessThanOrEqual(box!.x + box!.width + 1)
          }
          await picture(page, "job-mine")
          await page.getByRole("link", { name: "Cost" }).click()
          await page.getByText("the program gives no rate for the workers of this source").waitFor()
          expect(await page.getByText("$").count()).toBe(0)
          expect(said).toEqual([])
        })
      }).pipe(Effect.provide(Source.layerJobSpans()))
  )

  it.scopedLive("cancels and retries a job, and switches faults and workers", () =>
    Effect.gen(function* () {
      const { emulator, url } = yield* dashboard(5)
      const { page, said } = yield* openPage(url)
      yield* does(async () => {
        await view(page, "Jobs")
        await page.getByLabel("Status").selectOption("IN_PROGRESS")
        await page.locator('[role="row"] a').first().click()
        await page.getByRole("button", { name: "Cancel" }).click()
        await see(page, "The job is cancelled.")
      })
      expect((yield* emulator.counts).ended.CANCELLED).toBe(1)
      yield* does(async () => {
        await page.getByRole("link", { name: "All jobs" }).click()
        await page.getByLabel("Status").selectOption("FAILED")
        await page.locator('[role="row"] a').first().click()
        await page.getByRole("button", { name: "Retry" }).click()
        await see(page, "The job is queued again.")
        await view(page, "Faults and limits")
        // At once: the second keeps the first, though no sample shows that yet.
        await page.getByLabel("webhooks lost").check()
        await page.getByLabel("slow answers").check()
        await see(page, "slow answers: on.")
      })
      expect((yield* emulator.faults).map(({ _tag }) => _tag).sort()).toEqual(["Delay", "WebhookLost"])
      yield* does(async () => {
        await page.getByLabel("webhooks lost").uncheck()
        await see(page, "webhooks lost: off.")
      })
      expect((yield* emulator.faults).map(({ _tag }) => _tag)).toEqual(["Delay"])
      yield* does(async () => {
        await page.getByLabel("Workers at most").fill("0")
        await page.getByRole("button", { name: "Set workers" }).click()
        await see(page, "The endpoint has 0 workers at most.")
        expect(said).toEqual([])
      })
    })
  )

  it.scopedLive("shows the control characters of what a worker says, in no view as they are", () =>
    Effect.gen(function* () {
      const evil = "\u001b[31m\u009b2J\u202eexe\u0007\ud800"
      const { url } = yield* dashboard(1, { handler: () => Effect.fail(new Error(evil)) })
      const { page } = yield* openPage(url)
      yield* does(async () => {
        for (const name of ["Batch", "Jobs"]) {
          await view(page, name)
          await see(page, "␛[31m")
          expect(await page.locator("body").innerText()).not.toMatch(/(?![\n\t])[\p{Cc}\p{Bidi_Control}\p{Cs}]/u)
        }
        await page.locator('[role="row"] a').first().click()
        await page.getByRole("button", { name: "Show input and output" }).click()
        await page.getByLabel("Input and output").waitFor()
        expect(await page.locator("body").innerText()).not.toMatch(/(?![\n\t])[\p{Cc}\p{Bidi_Control}\p{Cs}]/u)
      })
    })
  )

  it.scopedLive("is used with the keyboard alone", () =>
    Effect.gen(function* () {
      const { url } = yield* dashboard(3)
      const { page } = yield* openPage(url)
      yield* does(async () => {
        await see(page, "Running workers")
        // The source, then the views.
        for (let i = 0; i < 3; i++) await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await see(page, "3 jobs, the newest first")
        await page.goBack()
        await see(page, "Running workers")
      })
    })
  )

  it.scopedLive("scrolls 100,000 jobs with a few rows at a time", () =>
    Effect.gen(function* () {
      const all = Array.from({ length: 100_000 }, (_, n) => ({
        id: `job-${n}`,
        status: n % 3 === 0 ? "FAILED" : "COMPLETED",
        executionTime: n % 5_000
      }))
      const source: Source.Source = {
        name: "many",
        kind: "journal",
        read: (cursor) =>
          Effect.succeed({ cursor: 1, isReset: cursor === 0, jobs: cursor === 0 ? all : [], removed: [] }),
        actions: {}
      }
      const { url } = yield* NodeDashboard.serve({ sources: [source], interval: "200 millis" })
      const { page, said } = yield* openPage(Redacted.value(url).replace("/#", "/?view=jobs#"))
      yield* does(async () => {
        await see(page, "100,000 jobs, the newest first")
        await see(page, "job-99999")
        const list = page.locator(".list")
        const took: Array<number> = []
        for (const [row, id] of [
          [50_000, "job-49999"],
          [99_980, "job-10"],
          [20_000, "job-79995"],
          [0, "job-99999"]
        ] as const) {
          const before = performance.now()
          await list.evaluate((element, top) => (element.scrollTop = top), row * 32)
          await page.getByText(id, { exact: true }).waitFor({ timeout: 5_000 })
          took.push(performance.now() - before)
        }
        // The second fastest: a machine may stand still for a while.
        expect(took.sort((a, b) => a - b)[1]).toBeLessThan(1_000)
        expect(await list.locator('[role="row"]').count()).toBeLessThan(100)
        const frames = await list.evaluate(async (element) => {
          const lengths: Array<number> = []
          let last = performance.now()
          for (let i = 1; i <= 60; i++) {
            element.scrollTop = i * 1_000
            await new Promise(requestAnimationFrame)
            lengths.push(performance.now() - last)
            last = performance.now()
          }
          return lengths.sort((a, b) => a - b)
        })
        expect(frames[30]).toBeLessThan(50)
        expect(said).toEqual([])
      })
    })
  )
})

describe("the page and its server's lives", () => {
  /** A server on a port, until it is stopped. */
  const start = (options: NodeDashboard.Options) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
      const { origin, url } = yield* Scope.extend(NodeDashboard.serve({ interval: "50 millis", ...options }), scope)
      return {
        url: Redacted.value(url),
        origin,
        port: Number(new URL(origin).port),
        stop: Scope.close(scope, Exit.void)
      }
    })

  /** What answers 503 on a port, as a server behind a proxy does while it starts. */
  const unavailable = (port: number) =>
    Effect.acquireRelease(
      Effect.async<Http.Server>((resume) => {
        const server = Http.createServer((_, response) => void response.writeHead(503).end())
        server.listen(port, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.close()
          server.closeAllConnections()
        })
    )

  const status = (page: Page, text: string) =>
    page.locator("header").getByRole("status").getByText(text, { exact: true }).waitFor({ timeout: 10_000 })
  const noSee = (page: Page, text: string) =>
    page.getByText(text).first().waitFor({ state: "detached", timeout: 10_000 })
  const refused = "The server does not take the token of this page"
  const withPlace = (url: string, place: string) => url.replace("/#", `/?${place}#`)
  const tokenOf = (url: string) => new URL(url).hash.replace("#token=", "")

  it.scopedLive("goes on by itself with another server that has the same file of a token", () =>
    Effect.gen(function* () {
      const tokenFile = `${mkdtempSync(`${tmpdir()}/token-`)}/token`
      const before = listed("batch", "old-1", "old-2", "both")
      const first = yield* start({ sources: [listed("other").source, before.source], tokenFile })
      const { page, said } = yield* openPage(withPlace(first.url, "source=batch&view=jobs"))
      const asked: Array<string> = []
      page.on("request", (request) => asked.push(`${request.url()} ${request.headers()["referer"]}`))
      yield* does(async () => {
        await see(page, "old-1")
        await status(page, "live")
        // More samples than the next server will have for a while.
        await page.waitForTimeout(1_500)
      })
      yield* first.stop
      yield* does(() => status(page, "not connected"))
      yield* Effect.scoped(Effect.zipRight(unavailable(first.port), Effect.sleep("1500 millis")))
      const after = listed("batch", "new-1", "both")
      const second = yield* start({ sources: [after.source], tokenFile, port: first.port, interval: "1 second" })
      expect(second.url).toBe(first.url)
      yield* does(async () => {
        await status(page, "live")
        await see(page, "new-1")
        await noSee(page, "old-1")
        expect(new URL(page.url()).search).toBe("?source=batch&view=jobs")
        expect(await page.locator("header option").allTextContents()).toEqual(["batch (journal)"])
        await page.getByRole("link", { name: "both" }).click()
        await page.getByRole("button", { name: "Cancel" }).click()
        await see(page, "The job is cancelled.")
      })
      expect([before.cancelled, after.cancelled]).toEqual([[], ["both"]])
      // The new server's samples, and nothing of those before.
      yield* does(async () => {
        await view(page, "Batch")
        await see(page, "0 of 2")
        after.add("new-2")
        await see(page, "0 of 3")
      })
      expect(asked.filter((text) => text.includes(tokenOf(first.url)))).toEqual([])
      expect(said.filter((text) => !text.startsWith("Failed to load resource"))).toEqual([])
    })
  )

  it.scopedLive("shows the first source of a server that does not have the one it has shown", () =>
    Effect.gen(function* () {
      const first = yield* start({ sources: [listed("kept").source, listed("gone", "old-1").source] })
      const { page } = yield* openPage(withPlace(first.url, "source=gone&view=jobs"))
      yield* does(() => see(page, "old-1"))
      yield* first.stop
      yield* start({ sources: [listed("kept", "new-1").source], port: first.port })
      yield* does(async () => {
        await see(page, "new-1")
        await status(page, "live")
        await noSee(page, "old-1")
      })
    })
  )

  it.scopedLive("goes on with another token once its address is opened in one of the tabs", () =>
    Effect.gen(function* () {
      const first = yield* start({ sources: [listed("batch", "old-1").source] })
      const { page, said } = yield* openPage(withPlace(first.url, "view=jobs&job=old-1"))
      const fleet = yield* does(async () => {
        const tab = await page.context().newPage()
        tab.on("pageerror", (error) => said.push(String(error)))
        await tab.goto(first.url)
        await status(tab, "live")
        await see(page, "IN_PROGRESS")
        return tab
      })
      yield* first.stop
      const after = listed("batch", "old-1")
      const second = yield* start({ sources: [after.source], port: first.port })
      expect(tokenOf(second.url)).not.toBe(tokenOf(first.url))
      yield* does(async () => {
        await see(page, refused)
        await see(fleet, refused)
        await page.getByRole("button", { name: "Cancel" }).click()
        await page.waitForTimeout(300)
        expect(await page.getByText("The job is cancelled.").count()).toBe(0)
        // Only the fragment differs from where this tab is: nothing is loaded.
        await fleet.evaluate(() => document.body.setAttribute("data-same", "yes"))
        await fleet.goto(second.url)
        await noSee(fleet, refused)
        expect(await fleet.locator("body").getAttribute("data-same")).toBe("yes")
        expect(fleet.url()).toBe(`${second.origin}/`)
        // The other tab has it, too.
        await noSee(page, refused)
        await page.getByRole("button", { name: "Cancel" }).click()
        await see(page, "The job is cancelled.")
      })
      expect(after.cancelled).toEqual(["old-1"])
      yield* second.stop
      const third = yield* start({ sources: [after.source], port: first.port })
      yield* does(async () => {
        await see(page, refused)
        // The address has no place: the page is where it was.
        await page.goto(third.url)
        await see(page, "IN_PROGRESS")
        expect(page.url()).toBe(`${third.origin}/?view=jobs&job=old-1`)
        await page.getByRole("button", { name: "Cancel" }).click()
        await see(page, "The job is cancelled.")
        await noSee(fleet, refused)
        expect(said.filter((text) => !text.startsWith("Failed to load resource"))).toEqual([])
      })
    })
  )

  it.scopedLive("gives a token that the server does not take to no other tab", () =>
    Effect.gen(function* () {
      const jobs = listed("batch", "job")
      const { origin, url } = yield* start({ sources: [jobs.source] })
      const { page } = yield* openPage(withPlace(url, "view=jobs&job=job"))
      yield* does(async () => {
        await see(page, "IN_PROGRESS")
        const tab = await page.context().newPage()
        await tab.goto(`${origin}/#token=0123456789abcdef0123`)
        await see(tab, refused)
        await page.getByRole("button", { name: "Cancel" }).click()
        await see(page, "The job is cancelled.")
      })
    })
  )

  it.scopedLive(
    "wakes up after a sleep that its connection has not outlived",
    () =>
      Effect.gen(function* () {
        const jobs = listed("batch", "evening")
        const server = yield* start({ sources: [jobs.source] })
        const proxy = yield* proxyTo(server.port)
        const { page, said } = yield* openPage("about:blank")
        yield* does(async () => {
          await page.clock.install()
          await page.goto(withPlace(server.url, "view=jobs").replace(server.origin, `http://127.0.0.1:${proxy.port}`))
          await see(page, "evening")
          await status(page, "live")
          const sleeps = async (millis: number) => {
            proxy.hold()
            await page.clock.fastForward(millis)
          }
          // A night.
          await sleeps(8 * 3_600_000)
          jobs.add("morning")
          await page.getByText("morning").waitFor({ timeout: 20_000 })
          await status(page, "live")
          // Not long enough to know it without being asked.
          await sleeps(9_000)
          jobs.add("noon")
          await page.waitForTimeout(1_000)
          expect(await page.getByText("noon").count()).toBe(0)
          await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")))
          await page.getByText("noon").waitFor({ timeout: 3_000 })
          // Awake, and its network is gone.
          proxy.hold()
          jobs.add("evening again")
          await page.getByText("evening again").waitFor({ timeout: 40_000 })
          await status(page, "live")
          expect(said.filter((text) => !text.startsWith("Failed to load resource"))).toEqual([])
        })
      }),
    90_000
  )
})
