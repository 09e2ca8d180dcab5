import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream, TestClock } from "effect"
import { hasProperty } from "effect/Predicate"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { blocksIn, documents, packageDocuments, tablesBelow } from "../../scripts/blocks.mjs"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as BatchApi from "../../src/services/BatchApi.js"
import type { RunPod } from "../../src/services/RunPod.js"
import { bundle, root } from "../support/bundle.js"
import { freePort } from "../support/listening.js"
import { makeFolder, node } from "./run.js"

// The documents' blocks as files, a folder for each document, as a reader would save them. `npm run docs:check` compiles all
// of them; here tests and programs run.
const folder = makeFolder("documents")
const folderOf = (document: string) => `${folder}/${document.replace(/^docs\/|\.md$/g, "")}`
const blocks = [...documents(), ...packageDocuments()].flatMap((document) =>
  blocksIn(document).map((block) => ({ ...block, document }))
)
for (const { document, name, text } of blocks) {
  mkdirSync(folderOf(document), { recursive: true })
  // Any free port will do for a server.
  writeFileSync(`${folderOf(document)}/${name}`, text.replace("serve({ port: 8000,", "serve({ port: 0,"))
}

/** Programs that run below, each in a process of its own, by their documents. */
const programs = {
  "paint.ts": "README.md",
  "captions.ts": "README.md",
  "main.ts": "docs/testing.md",
  "local.ts": "docs/local-worker.md",
  "webhooks.ts": "docs/webhooks.md",
  "serve.ts": "docs/emulator.md"
}
type Program = keyof typeof programs
it("every program of the documents runs here", () => {
  const inDocuments = blocks.filter(({ text }) => /\b(?:NodeRuntime|NodeRunPod)\.runMain\b/.test(text))
  assert.deepStrictEqual(Object.fromEntries(inDocuments.map(({ document, name }) => [name, document])), programs)
})

const bundles = makeFolder("programs")
await bundle(
  Object.entries(programs).map(([name, document]) => `${folderOf(document)}/${name}`),
  bundles
)
const run = (name: Program, variables: Record<string, string>, cwd?: string) =>
  node([`${bundles}/${name.replace(/ts$/, "js")}`], variables, cwd)

for (const { document, name } of blocks.filter(({ name }) => name.endsWith(".test.ts"))) {
  describe(`${name} of ${document}`, () => import(`${folderOf(document)}/${name}`))
}

describe.concurrent("a program of the documents runs:", { timeout: 90_000 }, () => {
  const server = NodeEmulator.serve({
    apiKey: "the-key",
    endpoints: {
      abc123: {
        workers: 20,
        handler: ({ image, prompt }) =>
          Effect.succeed(
            prompt === undefined ? { text: `${image} is red` } : { image: `https://images.example.com/${prompt}.png` }
          )
      }
    }
  })
  const variables = (url: string) => ({ RUNPOD_API_KEY: "the-key", RUNPOD_BASE_URL: url })

  for (const name of ["paint.ts", "main.ts", "local.ts"] as const) {
    it.scopedLive(name, () =>
      Effect.gen(function* () {
        const { counts, url } = yield* server
        const { code, output } = yield* run(name, variables(url))
        assert.strictEqual(code, 0, output)
        assert.match(output, /https:\/\/images\.example\.com\/a(?: |%20)red(?: |%20)bicycle\.png/)
        assert.strictEqual((yield* counts).submitted, 1)
      })
    )
  }

  it.scopedLive("webhooks.ts, which needs two requests", () =>
    Effect.gen(function* () {
      const { counts, url } = yield* server
      const port = yield* freePort
      const { code, output } = yield* run("webhooks.ts", {
        ...variables(url),
        PORT: `${port}`,
        RUNPOD_WEBHOOK_SECRET: "not to be guessed",
        RUNPOD_WEBHOOK_URL: `http://127.0.0.1:${port}/hooks/runpod`
      })
      assert.strictEqual(code, 0, output)
      assert.include(output, "a red bicycle")
      assert.strictEqual((yield* counts).total, 2)
    })
  )

  it.scopedLive("serve.ts, a server for any client", () =>
    Effect.gen(function* () {
      const { stdout } = yield* Effect.acquireRelease(
        Effect.sync(() => spawn(process.execPath, [`${bundles}/serve.js`], { stdio: ["ignore", "pipe", "inherit"] })),
        (child) => Effect.sync(() => child.kill())
      )
      const [line] = yield* Effect.promise(() => once(stdout, "data"))
      const [url] = /http:\S+/.exec(String(line)) ?? []
      const response = yield* Effect.promise(() =>
        fetch(`${url}/abc123/health`, { headers: { authorization: "Bearer x" } })
      )
      assert.strictEqual(response.status, 200)
      assert.hasAllKeys(yield* Effect.promise(() => response.json()), ["jobs", "workers"])
    })
  )

  it.scopedLive("captions.ts, and once more with its journal", () =>
    Effect.gen(function* () {
      const { counts, url } = yield* server
      for (let round = 1; round <= 2; round++) {
        const { code, output } = yield* run("captions.ts", variables(url), folder)
        assert.strictEqual(code, 0, output)
        assert.match(output, /Completed +100/)
        if (round === 2) assert.include(output, "of them from the journal: 100")
        assert.strictEqual((yield* counts).submitted, 100)
      }
    })
  )
})

/** What blocks export. */
interface Blocks {
  readonly train: Effect.Effect<void, unknown, RunPod>
  readonly tokens: (prompt: string) => Stream.Stream<string, unknown, RunPod>
  readonly firstWords: (prompt: string) => Stream.Stream<string, unknown, RunPod>
  readonly paint: (prompt: string) => Effect.Effect<string, unknown, RunPod>
  readonly submits: Effect.Effect<number>
  readonly overnight: (texts: ReadonlyArray<string>) => Effect.Effect<Iterable<unknown>, unknown, BatchApi.BatchApi>
}

const exportsOf = (document: string, name: string): Effect.Effect<Blocks> =>
  Effect.promise(() => import(`${folderOf(document)}/${name}`))

const emulated = (abc123: Emulator.EndpointOptions) => Effect.provide(Emulator.layerRunPod({ endpoints: { abc123 } }))

/** Runs an effect while the clock moves on. */
const during = <A, E, R>(minutes: number, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust(`${minutes} minutes`)
    return yield* Fiber.join(fiber)
  })

describe("a part of the documents does what it says:", () => {
  it.effect("a wait with progress reports it and ends with the job", () =>
    Effect.gen(function* () {
      const { train } = yield* exportsOf("README.md", "progress.ts")
      const lines: Array<unknown> = []
      const log = (line: unknown) => Effect.sync(() => void lines.push(line))
      yield* during(3, train).pipe(Effect.withConsole({ ...(yield* Effect.console), log }))
      assert.deepStrictEqual(lines.slice(1), [
        "IN_PROGRESS: 25 %",
        "IN_PROGRESS: 50 %",
        "IN_PROGRESS: 75 %",
        "COMPLETED",
        "loss: 0.5"
      ])
    }).pipe(
      emulated({
        handler: (_, { progress }) =>
          Effect.forEach([25, 50, 75], (percent) =>
            progress({ percent }).pipe(Effect.zipRight(Effect.sleep("30 seconds")))
          ).pipe(Effect.as({ loss: 0.5 }))
      })
    )
  )

  it.effect("tokens come as a stream", () =>
    Effect.gen(function* () {
      const { tokens } = yield* exportsOf("README.md", "tokens.ts")
      const words = yield* during(1, Stream.runCollect(tokens("Why is the sky blue?")))
      assert.deepStrictEqual([...words], ["Air ", "scatters ", "blue."])
    }).pipe(
      emulated({
        handler: () =>
          Stream.make("Air ", "scatters ", "blue.").pipe(
            Stream.map((token) => ({ token })),
            Stream.tap(() => Effect.sleep("1 second"))
          )
      })
    )
  )

  it.effect("a job whose stream ends early is cancelled, and the submit was counted", () =>
    Effect.gen(function* () {
      const { firstWords } = yield* exportsOf("docs/streams.md", "firstWords.ts")
      const { submits } = yield* exportsOf("docs/observability.md", "metrics.ts")
      const before = yield* submits
      const words = yield* during(1, Stream.runCollect(firstWords("Why is the sky blue?")))
      assert.deepStrictEqual([...words], ["Air ", "Air ", "Air "])
      const [job] = yield* (yield* Emulator.Emulator).jobs("abc123")
      assert.strictEqual(job?.status, "CANCELLED")
      assert.strictEqual(yield* submits, before + 1)
    }).pipe(emulated({ handler: () => Stream.repeatEffect(Effect.delay(Effect.succeed("Air "), "1 second")) }))
  )

  it.effect("a batch of RunPod's is followed to its end", () =>
    Effect.gen(function* () {
      const { overnight } = yield* exportsOf("docs/batch-api.md", "overnight.ts")
      const requests = yield* during(30, overnight(["fox", "dog"]))
      assert.sameDeepMembers(
        Array.from(requests, (request) => (hasProperty(request, "output") ? request.output : undefined)),
        ["0: fox", "1: dog"]
      )
    }).pipe(
      Effect.provide(BatchApi.layer),
      emulated({ handler: ({ key, text }) => Effect.succeed(`${key}: ${text}`).pipe(Effect.delay("5 minutes")) })
    )
  )

  it.effect("failures are caught by their tags", () =>
    Effect.gen(function* () {
      const { paint } = yield* exportsOf("docs/errors.md", "failures.ts")
      const { setFaults } = yield* Emulator.Emulator
      assert.strictEqual(yield* during(1, paint("a cat")), "https://images.example.com/a%20cat.png")
      assert.match(yield* during(1, paint("nothing")), /^the handler raised .*: no such thing$/)
      assert.strictEqual(yield* during(6, paint("every leaf of an oak")), "too slow, and cancelled")
      yield* setFaults([Emulator.Fault.resetAfter({ operations: ["run"] })])
      assert.strictEqual(yield* during(1, paint("a cat")), "look for the job on abc123 first")
    }).pipe(
      emulated({
        handler: ({ prompt }) =>
          prompt === "nothing"
            ? Effect.fail(new Error("no such thing"))
            : Effect.succeed({ image: `https://images.example.com/${prompt}.png` }).pipe(
                Effect.delay(prompt === "a cat" ? 0 : "1 hour")
              )
      })
    )
  )
})

it("docs/examples.md names every example", () => {
  const [table] = tablesBelow(readFileSync(`${root}docs/examples.md`, "utf8"), "Examples")
  const named = table?.rows.map(([cell]) => cell?.replace(/[`/]/g, ""))
  const shared = ["demo", "support"]
  const examples = readdirSync(`${root}examples`).filter((name) => !shared.includes(name))
  assert.deepStrictEqual(named?.sort(), examples.sort())
})
