import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Esbuild from "esbuild"
import { execFile } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import * as Http from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root } from "../support/bundle.js"
import { listening } from "../support/listening.js"

/** Outside of this project, whose packages would be found from within. */
const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-runpod-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** A project with the packages of this one but for some, and this one's sources. */
const projectWithout = (path: string, ...missing: ReadonlyArray<string>): void => {
  symlinkSync(`${root}src`, `${path}/src`)
  mkdirSync(`${path}/node_modules`)
  for (const name of readdirSync(`${root}node_modules`)) {
    if (!missing.includes(name)) symlinkSync(`${root}node_modules/${name}`, `${path}/node_modules/${name}`)
  }
}

const bundle = (path: string, source: string, options: Esbuild.BuildOptions = {}) =>
  Effect.promise(async () => {
    writeFileSync(`${path}/main.ts`, source)
    const { warnings } = await Esbuild.build({
      absWorkingDir: path,
      entryPoints: [`${path}/main.ts`],
      outfile: `${path}/main.mjs`,
      bundle: true,
      format: "esm",
      platform: "node",
      target: "node20",
      preserveSymlinks: true,
      logLevel: "silent",
      banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` },
      ...options
    })
    return warnings
  })

const run = (path: string, environment: Readonly<Record<string, string>> = {}) =>
  Effect.async<string, Error>((resume) => {
    execFile(process.execPath, [`${path}/main.mjs`], { env: environment }, (error, stdout) =>
      resume(error === null ? Effect.succeed(stdout) : Effect.fail(error))
    )
  })

const progress = `
  import { Effect } from "effect"
  import * as Batch from "./src/services/Batch.js"
  import { NodeProgress } from "./src/node/index.js"

  const output = Object.assign(process.stdout, { isTTY: true })
  const program = Effect.flatMap(Batch.tracker, (tracker) =>
    NodeProgress.show(Effect.sleep("20 millis"), tracker, { output })
  )
  await Effect.runPromise(program)
  console.log("ended")
`

describe("the entry for Node", () => {
  it.scopedLive("can be bundled, and shows progress, where cli-progress is not installed", () =>
    Effect.gen(function* () {
      const path = yield* folder
      projectWithout(path, "cli-progress", "@types")
      yield* bundle(path, progress)
      assert.include(yield* run(path), "ended")
    })
  )

  it.scopedLive("sends over fetch where undici is Bun's, which cannot send", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const server = Http.createServer((request, response) => {
        asked.push(`${request.method} ${request.url} ${request.headers.authorization}`)
        request.resume()
        if (request.url === "/v2/ep/health") response.writeHead(302, { location: "/elsewhere" })
        response.end(JSON.stringify({ id: "a", status: "COMPLETED", output: { n: 1 } }))
      })
      const port = yield* listening(server)
      const path = yield* folder
      projectWithout(path)
      const program = `
        import { Effect, Schema } from "effect"
        import * as Endpoint from "./src/services/Endpoint.js"
        import * as RetryPolicy from "./src/layers/RetryPolicy.js"
        import { NodeRunPod } from "./src/node/index.js"

        const Numbered = Schema.Struct({ n: Schema.Number })
        const program = Effect.gen(function* () {
          const endpoint = yield* Endpoint.make("ep", { input: Numbered, output: Numbered })
          const output = yield* endpoint.call({ n: 1 })
          const redirected = yield* Effect.flip(endpoint.health)
          return { output, redirected: redirected.status }
        })
        const options = {
          apiKey: "a-key-of-mine",
          baseUrl: process.env.URL,
          http2: true,
          proxy: false,
          retry: RetryPolicy.none
        }
        console.log(JSON.stringify(await Effect.runPromise(Effect.provide(program, NodeRunPod.layer(options)))))
      `
      yield* bundle(path, program, { alias: { undici: `${root}test/support/bunUndici.ts` } })
      const printed = yield* run(path, { URL: `http://127.0.0.1:${port}/v2` })
      assert.deepStrictEqual(JSON.parse(printed), { output: { n: 1 }, redirected: 302 })
      assert.deepStrictEqual(asked, ["POST /v2/ep/run Bearer a-key-of-mine", "GET /v2/ep/health Bearer a-key-of-mine"])
    })
  )
})
