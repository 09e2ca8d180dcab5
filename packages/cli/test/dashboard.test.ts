import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync, statSync } from "node:fs"
import { command, folder, run, served } from "./support/command.js"

const get = (url: string) =>
  Effect.promise(async () => {
    const response = await fetch(url)
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() }
  })

/** The page and its script, and the sources that it shows, by name. */
const look = Effect.fnUntraced(function* (url: string) {
  const { hash, origin } = new URL(url)
  assert.match(hash, /^#token=[\w-]{32}$/)
  const page = yield* get(`${origin}/`)
  const script = yield* get(`${origin}/page.js`)
  assert.deepStrictEqual(
    [page.status, page.type, script.status, script.type],
    [200, "text/html; charset=utf-8", 200, "text/javascript; charset=utf-8"]
  )
  return (yield* get(`${origin}/api/sources`)).text
})

describe("the dashboard", () => {
  it.live("serves its page over endpoints and journals, says where, and ends with 130", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      yield* run(["batch", "run", "ep", "-", "--journal", "j.jsonl"], { cwd, env, stdin: `{"n":1}\n` })
      const running = yield* command(["dashboard", "--endpoint", "ep", "--journal", "j.jsonl", "-o", "jsonl"], {
        cwd,
        env
      })
      const [line] = yield* running.wrote(/^\{.*\}$/m)
      const { sources, url } = JSON.parse(line) as { readonly url: string; readonly sources: ReadonlyArray<string> }
      assert.deepStrictEqual(sources, ["ep", "j.jsonl"])
      const shown = yield* look(url)
      for (const name of sources) assert.include(shown, name)
      yield* running.wrote(/The dashboard of ep, j\.jsonl is at http/)
      running.child.kill("SIGINT")
      const { code, stderr } = yield* running.ended
      assert.strictEqual(code, 130)
      assert.include(stderr, url)
    }).pipe(Effect.scoped)
  )

  it.live("has the token of the time before, so that an open page goes on, and another one where that cannot be", () =>
    Effect.gen(function* () {
      const cwd = yield* folder
      const env = { XDG_STATE_HOME: `${cwd}/state` }
      const tokenOf = (options: typeof env) =>
        Effect.scoped(
          Effect.gen(function* () {
            const running = yield* command(["dashboard", "--journal", "j.jsonl"], { cwd, env: options })
            const [, token] = yield* running.wrote(/^http:\S+#token=(\S+)/)
            return token
          })
        )
      const first = yield* tokenOf(env)
      assert.strictEqual(yield* tokenOf(env), first)
      assert.strictEqual(statSync(`${cwd}/state/effect-runpod/dashboard-token`).mode & 0o777, 0o600)
      assert.strictEqual(statSync(`${cwd}/state`).mode & 0o777, 0o700)
      assert.notStrictEqual(yield* tokenOf({ XDG_STATE_HOME: "/proc" }), first)
    }).pipe(Effect.scoped)
  )

  it.live("of a journal alone needs no key, and without anything to show it is status 2", () =>
    Effect.gen(function* () {
      const running = yield* command(["dashboard", "--journal", "later.jsonl"], { cwd: yield* folder })
      const [url] = yield* running.wrote(/^http:\S+/)
      assert.include(yield* look(url), "later.jsonl")
      const nothing = yield* run(["dashboard"])
      assert.deepStrictEqual([nothing.code, nothing.stdout], [2, ""])
      assert.include(nothing.stderr, "give --endpoint or --journal")
      const taken = yield* run(["dashboard", "--journal", "a.jsonl", "--port", new URL(url).port])
      assert.deepStrictEqual([taken.code, taken.stdout], [2, ""])
      assert.match(taken.stderr, /The dashboard cannot be served: .*EADDRINUSE/)
    }).pipe(Effect.scoped)
  )

  it.live("is there beside an emulator, over its endpoints", () =>
    Effect.gen(function* () {
      const running = yield* command(["emulator", "start", "caption", "upscale", "--dashboard", "-o", "jsonl"])
      const [line] = yield* running.wrote(/^\{.*\}$/m)
      const { dashboard } = JSON.parse(line) as { readonly dashboard: string }
      const shown = yield* look(dashboard)
      assert.include(shown, "caption")
      assert.include(shown, "upscale")
    }).pipe(Effect.scoped)
  )
})

describe("a report as a page", () => {
  it.live("goes to a file, and to stdout", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      const stdin = `{"n":1}\n`
      yield* run(["batch", "run", "bad", "-", "--journal", "j.jsonl"], { cwd, env, stdin })
      const file = ["batch", "report", "j.jsonl", "--html", "report.html", "--rate", "0.001", "-o", "json"]
      const { stdout } = yield* run(file, { cwd })
      assert.deepInclude(JSON.parse(stdout), { counts: { JobFailedError: 1 } })
      const page = readFileSync(`${cwd}/report.html`, "utf8")
      assert.match(page, /^<!doctype html>[^]*JobFailedError[^]*At least[^]*no such model[^]*<\/html>\n$/)
      const printed = yield* run(["batch", "report", "j.jsonl", "--html", "-", "--rate", "0.001"], { cwd })
      assert.deepStrictEqual([printed.code, printed.stdout], [0, page])
      const nowhere = yield* run(["batch", "report", "j.jsonl", "--html", "no/such/folder.html"], { cwd })
      assert.deepStrictEqual([nowhere.code, nowhere.stdout], [2, ""])
    }).pipe(Effect.scoped)
  )
})
