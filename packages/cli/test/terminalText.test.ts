import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NFS from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { bin, folder, run, start } from "./support/command.js"
import { runHere } from "./support/inProcess.js"

const bidi = [0x061c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069]

/** What a hostile worker would write to drive the terminal of whoever looks. */
const evil: ReadonlyArray<string> = [
  ...["\u001b[31m", "\u001b[2J\u001b[H", "\u001b[1A\u001b[2K", "\u001b[8m", "\u001bc", "\u001b[?1049h", "\u001b[6n"],
  ...["\u001b]0;title\u0007", "\u001b]52;c;ZXZpbA==\u0007", "\u001b]8;;http://evil\u001b\\", "\u001bP+q544e\u001b\\"],
  ...["\u009b31m", "\u009d0;title\u009c", "\u0090q\u009c", "\u0085", "\u007f", "\u0008\u0008\u0008", "\r", "\u0000"],
  ...["\u0007", "\u000b", "\u000c", "\u000e", "\u000f", "\u001a", "\u001c", "\u001f"],
  ...bidi.map((code) => `${String.fromCharCode(code)}exe.txt`),
  ...["\ud800", "\udfff", "\udc00\ud800", "a\ud83d"]
]
const all = evil.join("|")

/** An id may have no C0, which no path of a URL can have. */
const jobId = `job-\u009b31m\u0085${bidi.map((code) => String.fromCharCode(code)).join("")}`

/** A server that answers everything with texts like these, as a worker or a proxy could. */
const hostile = Effect.acquireRelease(
  Effect.async<{ readonly close: () => void; readonly env: Readonly<Record<string, string>> }>((resume) => {
    const server = createServer((request, response) => {
      const { url = "" } = request
      const asked = /\/(?:status|status-sync|stream|cancel|retry)\/([^?]+)/.exec(url)?.[1]
      request.resume()
      const job = (status: string) => ({
        id: asked === undefined ? jobId : decodeURIComponent(asked),
        status,
        delayTime: 1,
        executionTime: 2,
        workerId: all,
        output: { text: all, [all]: [all] },
        ...(status === "FAILED"
          ? { error: JSON.stringify({ error_type: all, error_message: all, error_traceback: all }) }
          : {})
      })
      const answer = (status: number, body: unknown, reason = "OK") => {
        response.writeHead(status, reason.replace(/[^\t\x20-\x7e\x80-\xff]/g, ""), {
          "content-type": "application/json"
        })
        response.end(JSON.stringify(body))
      }
      if (url.includes("/refusing/")) return answer(400, { error: all, detail: all }, "\u009b31mBad")
      if (url.includes("/broken/")) return answer(500, all, "\u0085Broken")
      if (url.endsWith("/run")) return answer(200, { ...job("IN_QUEUE"), output: undefined })
      if (url.endsWith("/health")) {
        return answer(200, { jobs: { completed: 1, inQueue: 1, [all]: 1 }, workers: { idle: 0, [all]: 2 } })
      }
      if (url.endsWith("/requests")) return answer(200, { requests: [job("IN_PROGRESS"), job("IN_QUEUE")] })
      if (url.includes("/stream/"))
        return answer(200, { status: "COMPLETED", stream: [{ output: all }, { output: { [all]: all } }] })
      if (url.endsWith("/purge-queue")) return answer(200, { removed: 1, status: all })
      return answer(200, job(url.includes("/failing/") ? "FAILED" : "COMPLETED"))
    })
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      const env = { RUNPOD_BASE_URL: `http://127.0.0.1:${port}/v2`, RUNPOD_API_KEY: "test-key-0123456789" }
      resume(Effect.succeed({ env, close: () => server.close() }))
    })
  }),
  ({ close }) => Effect.sync(close)
)

const isControl = (code: number): boolean =>
  (code < 0x20 && code !== 0x0a && code !== 0x09) ||
  (code >= 0x7f && code <= 0x9f) ||
  bidi.includes(code) ||
  code === 0xfffd

/** What of a terminal's output is neither text nor what the program itself does: the line that changes, and the terminal's line ends. */
const controlsIn = (output: string): ReadonlyArray<string> =>
  Array.from(output.replaceAll("\r\n", "\n").replaceAll("\r\u001b[2K", ""))
    .filter((character) => isControl(character.codePointAt(0) ?? 0))
    .map((character) => `U+${(character.codePointAt(0) ?? 0).toString(16)}`)

const quoted = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`

/** Runs a command on a pseudo-terminal. */
const onTerminal = (
  args: ReadonlyArray<string>,
  options: { readonly cwd: string; readonly env: Readonly<Record<string, string>> }
) => {
  const line = [process.execPath, bin, ...args].map(quoted).join(" ")
  const env = { TERM: "xterm", SHELL: "/bin/sh", ...options.env }
  return Effect.scoped(
    Effect.flatMap(start("script", ["-qec", line, "/dev/null"], { ...options, env }), ({ ended }) => ended)
  )
}

// An argument of a process has no zero, and is well-formed.
const argument = evil.filter((text) => !text.includes("\u0000") && text.isWellFormed()).join("|")

const keyed = (text: string, n: number) => JSON.stringify({ id: `${n}-${text}`, text })

const secrets = { RUNPOD_WEBHOOK_SECRET: "a secret of more than thirty-two characters" }

const prepare = (cwd: string) => {
  NFS.writeFileSync(`${cwd}/in.jsonl`, `${keyed(argument, 1)}\n${keyed(argument, 2)}\n`)
  NFS.writeFileSync(`${cwd}/nonsense.jsonl`, `{"a":1}\n{"${all}`)
  NFS.writeFileSync(`${cwd}/twice.jsonl`, `${keyed(argument, 1)}\n${keyed(argument, 1)}\n`)
  NFS.writeFileSync(`${cwd}/twice.csv`, `id,a${argument},a${argument}\n1,2,3\n`)
  NFS.writeFileSync(`${cwd}/input.json`, `{"text":"x"}`)
  NFS.writeFileSync(`${cwd}/faults.json`, JSON.stringify([{ _tag: all, by: all }]))
  NFS.writeFileSync(`${cwd}/config.json`, JSON.stringify({ endpoints: { [all]: { workers: all } } }))
  NFS.writeFileSync(`${cwd}/delivery.json`, JSON.stringify({ id: all, status: "COMPLETED", output: all }))
}

const commands: ReadonlyArray<ReadonlyArray<string>> = [
  ["run", "ep", "@input.json"],
  ["run", "failing", "@input.json"],
  ["run", "failing", "@input.json", "-o", "json"],
  ["run", "refusing", "@input.json"],
  ["run", "broken", "@input.json"],
  ["run", "ep", "@input.json", "--detach"],
  ["run", "ep", "@input.json", "-o", "jsonl", "--progress", "jsonl"],
  ["run", argument, "@input.json"],
  ["run", "ep", argument],
  ["status", "ep", "job"],
  ["status", "ep", "job", "-o", "json"],
  ["status", "failing", "job"],
  ["status", "refusing", "job"],
  ["status", "ep", argument],
  ["cancel", "ep", "job"],
  ["retry", "failing", "job"],
  ["watch", "ep", "job"],
  ["watch", "failing", "job", "-o", "jsonl"],
  ["stream", "ep", "job"],
  ["stream", "ep", "job", "-o", "json"],
  ["health", "ep", "--diagnose"],
  ["purge", "ep", "--yes"],
  ["jobs", "list", "ep"],
  ["jobs", "orphans", "ep"],
  ["jobs", "sweep", "ep", "--yes"],
  ["doctor", "ep"],
  ["doctor", "refusing"],
  ["batch", "run", "ep", "in.jsonl", "--key", "id", "--journal", "j.jsonl"],
  ["batch", "run", "failing", "in.jsonl", "--key", "id", "--progress", "jsonl"],
  ["batch", "run", "failing", "in.jsonl", "-o", "json", "--progress", "plain"],
  ["batch", "run", "refusing", "in.jsonl", "--key", "id"],
  ["batch", "run", "ep", "nonsense.jsonl"],
  ["batch", "run", "ep", "twice.jsonl", "--key", "id"],
  ["batch", "run", "ep", "twice.csv"],
  ["batch", "run", "ep", "in.jsonl", "--key", argument],
  ["batch", "run", "ep", "in.jsonl", "--out", argument],
  ["batch", "run", "ep", "in.jsonl", "--out", `${argument}/no/such`],
  ["batch", "run", "ep", argument],
  ["batch", "resume", "j.jsonl"],
  ["batch", "inspect", "j.jsonl", "--all"],
  ["batch", "inspect", "j.jsonl", "--all", "-o", "json"],
  ["batch", "report", "j.jsonl"],
  ["batch", "report", "j.jsonl", "--html", "-"],
  ["batch", "report", argument],
  ["batch", "list", "--store", argument],
  ["emulator", "start", "--faults", "@faults.json"],
  ["emulator", "start", "--config", "@config.json"],
  ["emulator", "start", "--host", argument],
  ["flight", "inspect", argument],
  ["dashboard", "--journal", `${argument}/x`, "--port", "99999"],
  ["webhooks", "verify", `http://localhost/?token=${argument}`, "--body", "@delivery.json"],
  ["completions", argument],
  [argument],
  ["run", "ep", "@input.json", `--${argument}`],
  ["run", "ep", "@input.json", "--timeout", argument],
  ["run", "ep", "@input.json", "-o", argument]
]

const look = (stdout: string, args: ReadonlyArray<string>) =>
  assert.deepStrictEqual(
    controlsIn(stdout),
    [],
    `${args.join(" ").slice(0, 80)}\n${JSON.stringify(stdout.slice(0, 3_000))}`
  )

describe("texts of others on a terminal", () => {
  it.live(`have no control characters left, in ${commands.length} commands: ${evil.length} texts`, () =>
    Effect.gen(function* () {
      const { env } = yield* hostile
      const cwd = yield* folder
      prepare(cwd)
      let shown = ""
      for (const args of commands) {
        const words = args.map((word) => word.replace(/^(@?)(\w+\.(?:jsonl?|csv))$/, `$1${cwd}/$2`))
        const { stderr, stdout } = yield* runHere(words, { env: { ...env, ...secrets }, isTerminal: true }).pipe(
          Effect.timeoutFail({
            duration: "20 seconds",
            onTimeout: () => new Error(`it did not end: ${args.join(" ").slice(0, 80)}`)
          })
        )
        look(stderr + stdout, args)
        shown += stdout
      }
      assert.isAbove(shown.split("␛[31m").length, 20)
    }).pipe(Effect.scoped)
  )

  it.live("have none left on a real pseudo-terminal", () =>
    Effect.gen(function* () {
      const { env } = yield* hostile
      const cwd = yield* folder
      prepare(cwd)
      const real = commands.filter(([first, second]) => first === "stream" || (first === "batch" && second === "run"))
      yield* Effect.forEach(
        real.slice(0, 6),
        (args) =>
          Effect.map(onTerminal(args, { cwd, env: { ...env, ...secrets } }), ({ stdout }) => look(stdout, args)),
        { concurrency: 3 }
      )
    }).pipe(Effect.scoped)
  )
})

describe("texts of others in a pipe", () => {
  it.live("are as they came, as text and in JSON", () =>
    Effect.gen(function* () {
      const { env } = yield* hostile
      const cwd = yield* folder
      prepare(cwd)
      const text = yield* run(["stream", "ep", "job"], { cwd, env })
      // A pipe has UTF-8, which has no halves of surrogate pairs.
      assert.include(text.stdout, all.toWellFormed())
      const json = yield* run(["status", "ep", "job", "-o", "json"], { cwd, env })
      assert.deepNestedInclude(JSON.parse(json.stdout), { "output.text": all })
      yield* run(["batch", "run", "ep", "in.jsonl", "--key", "id", "--out", "o.jsonl"], { cwd, env })
      const [row = ""] = NFS.readFileSync(`${cwd}/o.jsonl`, "utf8").trim().split("\n").sort()
      assert.deepNestedInclude(JSON.parse(row), { key: `1-${argument}`, "output.text": all })
    }).pipe(Effect.scoped)
  )
})
