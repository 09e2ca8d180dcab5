import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NFS from "node:fs"
import { createServer } from "node:net"
import { exitCodes, statuses } from "../src/spec/statuses.js"
import { folder, run, served } from "./support/command.js"
import { runHere } from "./support/inProcess.js"

const long = "x".repeat(5_000)

/** Command lines, and what is said of each. `HERE` is a folder with a few files. */
const wrong: ReadonlyArray<readonly [line: ReadonlyArray<string>, says: RegExp]> = [
  [["rnu"], /Invalid subcommand rnu.*run, status/],
  [["batch", "rn"], /Invalid subcommand batch rn: did you mean run\? There are run, resume, list, inspect, report/],
  [[long], /Invalid subcommand x+…/],
  [["run"], /Missing argument <endpoint>/],
  [["run", "ep"], /Missing argument <input>: .* See effect-runpod run --help/],
  [["run", "ep", "{}", "extra"], /Unknown argument extra/],
  [["run", "ep", "{}", "--tiemout", "5s"], /Unknown option --tiemout: did you mean --timeout\?/],
  [["run", "ep", "{}", `--${long}`], /Unknown option --x+…/],
  [["run", "ep", "{}", "--timeout"], /--timeout needs a value: --timeout duration/],
  [["run", "ep", "{}", "--timeout", "--detach"], /--timeout needs a value/],
  [["run", "ep", "{}", "--timeout", "soon"], /--timeout takes a length of time, such as 90s/],
  [["run", "ep", "{}", "--timeout", long], /--timeout takes a length of time/],
  [["run", "ep", "{}", "--ttl", "1s", "--ttl", "2s"], /--ttl is given twice/],
  [["run", "ep", "{}", "-o", "json", "--output", "text"], /--output is given twice/],
  [["run", "ep", "{}", "--detach=maybe"], /--detach takes no value/],
  [["run", "ep", "{}", "--detach", "--timeout", "5s"], /--detach does not wait, and --timeout/],
  [["run", "ep", "{}", "--detach", "--cancel-on-stop"], /--detach does not wait, and --cancel-on-stop/],
  [["run", "ep", "{}", "-o", "yaml"], /-o takes text, json or jsonl, not yaml/],
  [["run", "ep", "{}", "--progress", "loud"], /--progress takes auto, plain, jsonl or none, not loud/],
  [["--log-level", "loud", "run"], /--log-level takes all, trace/],
  [["--version", "run", "ep"], /Missing argument/],
  [["run", "ep", "{"], /The input is no JSON/],
  [["run", "ep", `{"a":"${long}`], /The input is no JSON/],
  [["run", "ep", "[1]"], /no JSON object/],
  [["run", "ep", "@HERE/missing.json"], /missing\.json: there is no such file or folder/],
  [["run", "ep", "@HERE"], /it is a folder\. Give the path of a file/],
  [["run", "ep", "-", "--key-file", "-"], /Only one of the arguments can be -/],
  [["run", "ep", `{"a":1}`, "--key-file", "HERE/missing"], /there is no such file/],
  [["run", "ep", `{"a":1}`, "--key-file", "HERE"], /it is a folder/],
  [["run", "ep", `{"a":1}`, "--record", "HERE"], /folder|no regular file/],
  [["run", "ep", `{"a":1}`, "--record", "HERE/in.jsonl"], /no file of the format effect-runpod\/flight/],
  [["status", "ep"], /Missing argument <job>/],
  [["health", "ep", "--interval", "5s"], /--interval is for --watch/],
  [["purge", "ep"], /Add --yes to do it/],
  [["jobs", "list", "ep", "--status", "DONE"], /--status takes IN_QUEUE.*not DONE/],
  [["jobs", "orphans", "ep", "HERE/missing"], /there is no such file/],
  [["batch", "run", "ep", "HERE/missing.csv"], /there is no such file/],
  [["batch", "run", "ep", "HERE"], /it is a folder/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--format", "xml"], /--format takes jsonl or csv, not xml/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--concurrency", "-1"], /--concurrency takes a whole number from 1 on/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--concurrency", "1.5"], /--concurrency takes a whole number/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--max-failures", "0"], /--max-failures takes a whole number from 1 on/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--max-cost", "1"], /--max-cost needs --rate/],
  [
    ["batch", "run", "ep", "HERE/in.jsonl", "--max-cost", "much", "--rate", "1"],
    /--max-cost takes a number of dollars/
  ],
  [["batch", "run", "ep", "HERE/in.jsonl", "--rate", "-1"], /--rate takes a number of dollars/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--force"], /--force needs --journal/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--retry-failed"], /--retry-failed needs --journal/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--key", "id"], /Input 1 has no id/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--out", "HERE"], /it is a folder/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--out", "HERE/no/such/out"], /the folder .* is not there/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--out", "HERE/in.jsonl"], /are the same file/],
  [["batch", "run", "ep", "HERE/twice.csv"], /two columns named "prompt"/],
  [["batch", "run", "ep", "HERE/keys.jsonl", "--key", "id"], /Two inputs have the id "a"/],
  [["batch", "run", "ep", "HERE/nonsense.jsonl"], /Line 2 of .* is no JSON/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--format", "csv", "--key", "id"], /Input 1 has no id|no CSV/],
  [["batch", "resume", "HERE/missing"], /there is no such file/],
  [
    ["batch", "resume", "HERE/in.jsonl"],
    /in\.jsonl\.batch\.json, which batch run writes beside the journal, is not there/
  ],
  [["batch", "inspect", "HERE"], /it is a folder/],
  [["batch", "inspect", "HERE/in.jsonl"], /no file of the format effect-runpod\/batch/],
  [["batch", "inspect", "HERE/missing"], /there is no such file/],
  [["batch", "inspect", "HERE/empty"], /there is no journal in it/],
  [["batch", "inspect", "HERE/in.jsonl", "--prefix", "x_"], /--prefix is for --store/],
  [["batch", "report", "HERE/missing"], /there is no such file/],
  [["batch", "report", "HERE/in.jsonl", "--html", "-", "-o", "json"], /both want stdout/],
  [["batch", "report", "b", "--store", "NO_SUCH_URL", "--html", "x"], /--html is for journals|NO_SUCH_URL is not set/],
  [["batch", "list"], /Missing option --store/],
  [["batch", "list", "--store", "sqlite:b.db"], /--store takes PostgreSQL only/],
  [["batch", "list", "--store", "postgres://me:secret@127.0.0.1:1/db"], /--store has a password/],
  [["flight", "inspect", "HERE"], /it is a folder/],
  [["flight", "inspect", "HERE/missing"], /there is no such file/],
  [["flight", "inspect", "HERE/in.jsonl"], /no file of the format/],
  [["flight", "to-test", "HERE/empty"], /there is no recording in it/],
  [["run", "ep", `{"a":1}`, "--ttl", "1s"], /--ttl takes a length of time from 10s to 7d/],
  [["run", "ep", `{"a":1}`, "--timeout", "0s"], /--timeout takes a length of time/],
  [["batch", "run", "ep", "HERE/in.jsonl", "--execution-timeout", "8d"], /--execution-timeout takes .* from 5s to 7d/],
  [["health", "ep", "--watch", "--interval", "0s"], /--interval takes a length of time/],
  [["emulator", "start", "e p"], /"e p" can be no id of an endpoint/],
  [["dashboard", "--endpoint", "e\u001bp"], /"e␛p" can be no id of an endpoint/],
  [["emulator", "start", "--port", "abc"], /--port takes a port from 0 to 65535/],
  [["emulator", "start", "--port", "65536"], /--port takes a port from 0 to 65535/],
  [["emulator", "start", "--port", "-1"], /--port takes a port from 0 to 65535/],
  [["emulator", "start", "--workers", "0"], /--workers takes a whole number from 1 on/],
  [["emulator", "start", "--faults", "nonsense"], /--faults is no JSON/],
  [["emulator", "start", "--faults", `["nonsense"]`], /fault 1 has no _tag/],
  [["emulator", "start", "--faults", `[{"_tag":"Earthquake"}]`], /unknown _tag Earthquake. There are RateLimited/],
  [["emulator", "start", "--faults", `[{"_tag":"Delay"}]`], /0\.by/],
  [["emulator", "start", "--faults", `[{"_tag":"Delay","by":"soon"}]`], /0\.by/],
  [["emulator", "start", "--faults", `[{"_tag":"Paused","rate":7}]`], /0\.rate/],
  [["emulator", "start", "--faults", `[{"_tag":"Paused","rat":1}]`], /0\.rat/],
  [["emulator", "start", "--faults", "{}"], /faults are an array/],
  [["emulator", "start", "--config", `{"endpoints":3}`], /endpoints: an object was expected, and 3 was found/],
  [["emulator", "start", "--config", `{"faults":[{"_tag":"X"}]}`], /unknown _tag X/],
  [["emulator", "start", "--config", "@HERE/missing"], /there is no such file/],
  [["emulator", "start", "--config", "-", "--faults", "-"], /Only one of the arguments can be -/],
  [["emulator", "start", "--flight", "HERE"], /it is a folder/],
  [["emulator", "start", "--host", "not a host"], /cannot listen on not a host/],
  [["dashboard"], /give --endpoint or --journal/],
  [["dashboard", "--journal", "HERE"], /it is a folder/],
  [["dashboard", "--journal", "a", "--journal", "a"], /given twice/],
  [["webhooks", "issue", "ep", "k"], /Missing option --url/],
  [["webhooks", "listen", "--path", "hook"], /--path begins with a slash/],
  [["webhooks", "listen", "--forward", "nowhere"], /--forward takes a URL/],
  [["webhooks", "verify", "http://["], /The URL cannot be read/],
  [["completions", "tcsh"], /<shell> is bash, fish or zsh, not tcsh/]
]

const env = {
  RUNPOD_API_KEY: "test-key-0123456789",
  RUNPOD_WEBHOOK_SECRET: "a secret of more than thirty-two characters"
}

describe("a wrong command line", () => {
  it.live("is status 2 and a sentence or two, each of a hundred", () =>
    Effect.gen(function* () {
      const here = yield* folder
      const write = (name: string, text: string) => NFS.writeFileSync(`${here}/${name}`, text)
      write("in.jsonl", `{"n":1}\n`)
      write("empty", "")
      write("twice.csv", "id,prompt,prompt\n1,a,b\n")
      write("keys.jsonl", `{"id":"a"}\n{"id":"b"}\n{"id":"a"}\n`)
      write("nonsense.jsonl", `{"n":1}\n{"n":\n`)
      const files = NFS.readdirSync(here)
      for (const [line, says] of wrong) {
        const args = line.map((word) => word.replace("HERE", here))
        const { code, stderr, stdout } = yield* runHere(args, { env })
        const message = stderr.trim()
        const shown = args.join(" ").slice(0, 200)
        assert.strictEqual(code, exitCodes.usage, `${shown}: ${message}`)
        assert.strictEqual(stdout, "", shown)
        assert.match(message, says, shown)
        assert.isAtMost(message.length, 600, shown)
        assert.isAtMost(message.split("\n").length, 3, shown)
        assert.notMatch(message, /FileSystem|PlatformError|readonly|\bat .*:\d+|\b(?:EISDIR|ENOENT|EACCES)\b/, shown)
        assert.deepStrictEqual(NFS.readdirSync(here), files, shown)
      }
      assert.isAtLeast(wrong.length, 90)
    }).pipe(Effect.scoped)
  )

  it.live("is one where the port is in use, for each server", () =>
    Effect.gen(function* () {
      const server = createServer()
      const port = yield* Effect.async<number>((resume) => {
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
      })
      const cwd = yield* folder
      for (const args of [
        ["emulator", "start"],
        ["dashboard", "--journal", "j"],
        ["webhooks", "listen"]
      ]) {
        const { code, stderr, stdout } = yield* run([...args, "--port", String(port)], { cwd, env })
        assert.deepStrictEqual([code, stdout], [2, ""], stderr)
        assert.match(stderr, /another (?:--)?port/i)
        assert.isAtMost(stderr.trim().split("\n").length, 3)
      }
      server.close()
    }).pipe(Effect.scoped)
  )
})

describe("a defect of the program", () => {
  it.live("says that it is one, and where to report it; its trace is for --log-level debug", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      // What no version of Node has: the program stumbles over it.
      const broken = { ...env, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(breaking)}` }
      const plain = yield* run(["health", "ep"], { env: broken })
      assert.strictEqual(plain.code, 1)
      assert.match(plain.stderr, /a defect of effect-runpod-cli \S+, and not of your command: .*broken by a test/)
      assert.match(plain.stderr, /https:\/\/github\.com\/effect-runpod\/effect-runpod\/issues/)
      assert.notMatch(plain.stderr, /\n {4}at /)
      const debugged = yield* run(["--log-level", "debug", "health", "ep"], { env: broken })
      assert.match(debugged.stderr, /\n {4}at /)
    }).pipe(Effect.scoped)
  )
})

const breaking = `
const entries = Object.entries
Object.entries = (value) => {
  if (value !== null && typeof value === "object" && "inProgress" in value) throw new Error("broken by a test")
  return entries(value)
}`

describe("the statuses", () => {
  it("are in the help of the program and in its documentation as the code has them", () => {
    const document = NFS.readFileSync(new URL("../../../docs/cli.md", import.meta.url), "utf8")
    const [, rows = ""] = /\| status +\| .*\n\| -+.*\n((?:\|.*\n)+)/.exec(document) ?? []
    const inDocument = rows
      .trim()
      .split("\n")
      .map((row) =>
        row
          .split(/(?<!\\)\|/)
          .slice(1, -1)
          .map((cell) => cell.trim().replaceAll("`", "").replaceAll("\\|", "|"))
      )
    assert.deepStrictEqual(
      inDocument,
      statuses.map(({ code, example, when }) => [String(code), when, example])
    )
  })

  it.live("are in the help", () =>
    Effect.gen(function* () {
      const { stdout } = yield* run(["--help"])
      const text = stdout.replace(/\s+/g, " ")
      for (const { code, example, when } of statuses) assert.include(text, `${code} ${when} (${example})`)
    })
  )
})
