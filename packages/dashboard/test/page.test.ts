import { describe, expect, it } from "@effect/vitest"
import { Source } from "effect-runpod-dashboard"
import * as NodeDashboard from "effect-runpod-dashboard/NodeDashboard"
import { Endpoint, RateLimits } from "effect-runpod"
import { Fault } from "effect-runpod/Emulator"
import { RunPod } from "effect-runpod/RunPod"
import { Effect, Redacted, Schema } from "effect"
import { mkdirSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { type Browser, chromium, type Page } from "playwright-core"
import { afterAll, beforeAll } from "vitest"
import { build } from "../build.mjs"
import { fleet } from "./support/fleet.js"

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
