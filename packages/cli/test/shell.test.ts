import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { bin, command, folder, run, served, start } from "./support/command.js"

const key = { RUNPOD_API_KEY: "test-key-0123456789" }

/** A pseudo-terminal of 80 columns around the command; what it shows is all on stdout. */
const inTerminal = (args: ReadonlyArray<string>, env: Readonly<Record<string, string>>, typed = false) => {
  const line = [process.execPath, bin, ...args].map((arg) => `'${arg}'`).join(" ")
  return start("script", ["-qec", `stty cols 80; exec ${line}`, "/dev/null"], {
    env: { TERM: "xterm", SHELL: "/bin/sh", ...env },
    typed
  })
}

/** What a terminal showed, where a line begins anew as `⏎`. */
const shown = (text: string) => text.replaceAll("\r\u001b[2K", "⏎")

const hasEscapes = (text: string) => text.includes("\u001b")

describe("help", () => {
  it.live("is the text that the program itself prints, for every command", () =>
    Effect.gen(function* () {
      const texts = JSON.parse(readFileSync(bin.replace("bin.js", "help.json"), "utf8")) as Record<string, string>
      assert.includeMembers(Object.keys(texts), ["", "run", "batch run", "jobs sweep", "emulator start", "--version"])
      // A log level keeps the entry from taking the text: the program prints it.
      const path = ["batch", "run"]
      const printed = yield* run(["--log-level", "info", ...path, "--help"])
      const { stdout } = yield* run([...path, "--help"])
      assert.strictEqual(stdout.trimEnd(), printed.stdout.trimEnd())
      assert.include(stdout, "--max-failures")
      assert.isFalse(hasEscapes(stdout))
    })
  )

  it.live("has a line for each command, and no filler", () =>
    Effect.gen(function* () {
      const { stdout } = yield* run(["--help"])
      const lines = stdout.slice(stdout.indexOf("COMMANDS")).trimEnd().split("\n").slice(2)
      assert.isAbove(lines.length, 25)
      for (const line of lines) assert.match(line, /^ {2}[a-z-]+( [a-z-]+)? {2,}[A-Z].{5,110}$/)
      const ofRun = yield* run(["batch", "run", "--help"])
      assert.match(ofRun.stdout, /\n {2}--deadline duration\n {6}Stop after this time\n {2}--max-cost usd\n/)
      assert.notMatch(ofRun.stdout, /user-defined|This setting/)
    })
  )

  it.live("loads nothing of the program", () =>
    Effect.sync(() => {
      const imported = /^import .*"(\.\/[^"]+)"/gm
      const sizeOf = (file: string): number => {
        const text = readFileSync(file, "utf8")
        const others = Array.from(
          text
            .replaceAll(/import \{\s+/g, "import { ")
            .replaceAll(/\s+\} from/g, " } from")
            .matchAll(imported)
        )
        return others.reduce((sum, [, path = ""]) => sum + sizeOf(join(dirname(file), path)), text.length)
      }
      assert.isBelow(sizeOf(bin), 10_000)
    })
  )

  it.live("has colours on a terminal, and none with NO_COLOR", () =>
    Effect.gen(function* () {
      const coloured = yield* (yield* inTerminal(["run", "--help"], {})).ended
      const plain = yield* (yield* inTerminal(["run", "--help"], { NO_COLOR: "1" })).ended
      assert.isTrue(hasEscapes(coloured.stdout))
      assert.isFalse(hasEscapes(plain.stdout))
    }).pipe(Effect.scoped)
  )
})

describe("a wrong command line", () => {
  for (const [name, args, says] of [
    ["an option that is not known", ["run", "ep", "--tiemout", "5s"], /Unknown option --tiemout/],
    ["a command that is not known", ["rnu"], /Invalid subcommand/],
    ["an argument that is missing", ["run", "ep"], /Missing argument <input>/],
    ["a value that makes no sense", ["run", "ep", "{}", "--timeout", "soon"], /--timeout takes a length of time/],
    ["an input that is no JSON", ["run", "ep", "{"], /The input is no JSON/],
    ["an input that is no object", ["run", "ep", "[1]"], /no JSON object/],
    [
      "a store that is no PostgreSQL",
      ["batch", "list", "--store", "sqlite:batches.db"],
      /--store takes PostgreSQL only[^]*Sql\.batchStore/
    ],
    [
      "a password that every process can read",
      ["batch", "inspect", "b", "--store", "postgres://me:secret@127.0.0.1:1/db"],
      /--store has a password/
    ],
    ["a store whose variable is not set", ["batch", "report", "b", "--store", "NO_SUCH_URL"], /NO_SUCH_URL is not set/],
    ["a budget without a rate", ["batch", "run", "ep", "-", "--max-cost", "1"], /--max-cost needs --rate/]
  ] as const) {
    it.live(`is said once, on stderr, with status 2: ${name}`, () =>
      Effect.gen(function* () {
        const { code, stderr, stdout } = yield* run(args, { env: key })
        assert.deepStrictEqual([code, stdout], [2, ""])
        assert.match(stderr, says)
        assert.lengthOf(stderr.match(new RegExp(says, "g")) ?? [], 1)
        assert.isFalse(hasEscapes(stderr))
      })
    )
  }
})

describe("the API key", () => {
  it.live("is asked for by its name when it is missing, with status 3", () =>
    Effect.gen(function* () {
      const { code, stderr, stdout } = yield* run(["run", "ep", `{"a":1}`])
      assert.deepStrictEqual([code, stdout], [3, ""])
      assert.include(stderr, "RUNPOD_API_KEY is not set")
      assert.notInclude(stderr, "<redacted>")
    })
  )

  it.live("comes from a file or stdin, and one that is refused is said with status 3", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const path = `${yield* folder}/key`
      writeFileSync(path, "test-key-0123456789\n")
      const good = yield* run(["run", "ep", `{"a":1}`, "--key-file", path], { env: { ...env, RUNPOD_API_KEY: "" } })
      assert.strictEqual(good.code, 0, good.stderr)
      const typed = yield* run(["run", "ep", `{"a":1}`, "--key-file", "-"], {
        env: { ...env, RUNPOD_API_KEY: "" },
        stdin: "test-key-0123456789\n"
      })
      assert.strictEqual(typed.code, 0, typed.stderr)
      const empty = yield* run(["run", "ep", `{"a":1}`, "--key-file", "-"], { env })
      assert.strictEqual(empty.code, 3)
      assert.include(empty.stderr, "stdin is empty")
      const twice = yield* run(["run", "ep", "-", "--key-file", "-"], { env, stdin: "test-key-0123456789\n" })
      assert.strictEqual(twice.code, 2)
      assert.include(twice.stderr, "Only one of the arguments can be -")
      const doctor = yield* run(["doctor", "ep", "--key-file", "-"], { env, stdin: "test-key-0123456789\n" })
      assert.strictEqual(doctor.code, 0, doctor.stderr + doctor.stdout)
      const wrong = yield* run(["status", "ep", "job"], { env: { ...env, RUNPOD_API_KEY: "wrong-key-0123456789" } })
      assert.strictEqual(wrong.code, 3)
      assert.notInclude(wrong.stderr, "wrong-key-0123456789")
    }).pipe(Effect.scoped)
  )
})

describe("a signal", () => {
  it.live("says what goes on and how to resume, and ends with 130", () =>
    Effect.gen(function* () {
      const { env, server } = yield* served()
      const running = yield* command(["run", "slow", `{"a":1}`], { env })
      const [, job = ""] = yield* running.wrote(/Job (\S+) was submitted/)
      running.child.kill("SIGINT")
      const { code, stderr, stdout } = yield* running.ended
      assert.deepStrictEqual([code, stdout], [130, ""])
      assert.include(stderr, `Job ${job} goes on at RunPod.`)
      assert.include(stderr, `effect-runpod watch slow ${job}`)
      const jobs = yield* server.jobs("slow")
      assert.deepStrictEqual(
        jobs.map(({ status }) => status === "CANCELLED"),
        [false]
      )
    }).pipe(Effect.scoped)
  )

  it.live("cancels the job where that was asked for, and SIGTERM ends with 143", () =>
    Effect.gen(function* () {
      const { env, server } = yield* served()
      const running = yield* command(["run", "slow", `{"a":1}`, "--cancel-on-stop"], { env })
      yield* running.wrote(/was submitted/)
      running.child.kill("SIGTERM")
      assert.strictEqual((yield* running.ended).code, 143)
      const jobs = yield* server.jobs("slow")
      assert.deepStrictEqual(
        jobs.map(({ status }) => status),
        ["CANCELLED"]
      )
    }).pipe(Effect.scoped)
  )

  it.live("leaves at once when it comes a second time", () =>
    Effect.gen(function* () {
      const { env } = yield* served({
        faults: [{ _tag: "Hang", operations: ["cancel"] }]
      })
      const running = yield* command(["run", "slow", `{"a":1}`, "--cancel-on-stop"], { env })
      yield* running.wrote(/was submitted/)
      running.child.kill("SIGINT")
      yield* running.wrote(/is being cancelled/)
      running.child.kill("SIGINT")
      assert.strictEqual((yield* running.ended).code, 130)
    }).pipe(Effect.scoped, Effect.timeoutFail({ duration: "8 seconds", onTimeout: () => "it waited for the cancel" }))
  )
})

describe("a second signal", () => {
  it.live("during a submit leaves at once, when it was said where its job is found", () =>
    Effect.gen(function* () {
      const { env, server } = yield* served({ faults: [{ _tag: "Hang", operations: ["run"], processed: true }] })
      const running = yield* command(["run", "slow", `{"a":1}`], { env })
      yield* Effect.repeat(server.requests, {
        until: (requests) => requests.length > 0,
        schedule: Schedule.spaced("20 millis")
      })
      running.child.kill("SIGINT")
      yield* running.wrote(/The submit is on its way[^]*effect-runpod jobs list slow\n/)
      running.child.kill("SIGINT")
      const { code, stdout } = yield* running.ended
      assert.deepStrictEqual([code, stdout], [130, ""])
      assert.lengthOf(yield* server.jobs("slow"), 1)
    }).pipe(
      Effect.scoped,
      // The submit's answer would be waited for for 30 seconds.
      Effect.timeoutFail({ duration: "25 seconds", onTimeout: () => "it waited for the answer" })
    )
  )
})

describe("a pipe", () => {
  it.live("whose reader leaves ends the command without a word about it", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const line = `'${process.execPath}' '${bin}' health ep --watch --interval 20ms -o jsonl | head -n 2`
      const { stderr, stdout } = yield* (yield* start("bash", ["-c", line], { env })).ended
      assert.lengthOf(stdout.trim().split("\n"), 2)
      assert.strictEqual(stderr, "")
    }).pipe(Effect.scoped)
  )

  it.live("gets data alone, while progress goes to stderr", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      for (const [mode, expected] of [
        ["auto", /^Job \S+ was submitted\n/],
        ["jsonl", /^\{"type":"submitted"/],
        ["none", /^$/]
      ] as const) {
        const { code, stderr, stdout } = yield* run(["run", "ep", "-", "-o", "json", "--progress", mode], {
          env,
          stdin: `{"a":"ä"}`
        })
        assert.strictEqual(code, 0)
        assert.deepInclude(JSON.parse(stdout), { status: "COMPLETED", output: { a: "ä" } })
        assert.match(stderr, expected)
        assert.isFalse(hasEscapes(stdout + stderr))
      }
    }).pipe(Effect.scoped)
  )
})

describe("a terminal", () => {
  it.live("has data in lines of its own: the line of progress goes before it, and stays at the end", () =>
    Effect.gen(function* () {
      const { env } = yield* served({ ep: { workers: 1, execution: "700 millis" } })
      const file = `${yield* folder}/inputs.jsonl`
      writeFileSync(file, `{"n":1}\n{"n":2}\n{"n":3}\n`)
      const { stdout } = yield* (yield* inTerminal(["batch", "run", "ep", file], env)).ended
      // Above each row there is a whole line, or one that was erased.
      assert.match(shown(stdout), /in flight[^\n]*⏎0\tCompleted/)
      assert.notMatch(shown(stdout), /in flight[^⏎\n]*\tCompleted/)
      assert.match(stdout, /3 done, after \d+ s\r\nendpoint ep: 3 items/)
    }).pipe(Effect.scoped)
  )

  it.live("gets the health of an endpoint again and again, until Ctrl-C is typed", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const running = yield* inTerminal(["health", "ep", "--watch", "--interval", "50ms"], env, true)
      yield* running.wrote(/(?:jobs: [^]*workers: [^]*){3}/)
      running.child.stdin?.write("\u0003")
      const { code, stdout } = yield* running.ended
      assert.strictEqual(code, 130)
      assert.isFalse(hasEscapes(stdout))
    }).pipe(Effect.scoped)
  )

  it.live("gets one line of progress that changes", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const { code, stdout } = yield* (yield* inTerminal(["run", "ep", `{"a":1}`], env)).ended
      assert.strictEqual(code, 0)
      // What it ended with stays above the data.
      assert.match(shown(stdout), /⏎Job \S+ is COMPLETED\r\n\{/)
    }).pipe(Effect.scoped)
  )
})
