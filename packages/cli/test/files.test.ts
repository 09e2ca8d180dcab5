import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { execFileSync } from "node:child_process"
import * as NFS from "node:fs"
import { bin, folder, run, served, start } from "./support/command.js"
import { runHere } from "./support/inProcess.js"

/** All that is in a folder, and what it holds. */
const snapshot = (folder: string): ReadonlyArray<string> =>
  NFS.readdirSync(folder, { recursive: true, withFileTypes: true })
    .map((entry) => {
      const path = `${entry.parentPath}/${entry.name}`
      return `${path} ${entry.isFile() ? NFS.readFileSync(path, "utf8") : "-"}`
    })
    .sort()

const inputs = [1, 2, 3].map((n) => `{"n":${n}}\n`).join("")

const key = "test-key-0123456789"

/** Another name for a file in a folder, and whether the file has to be there for it. */
const aliases: Readonly<Record<string, (folder: string, file: string) => string>> = {
  same: (_, file) => file,
  dotted: (_, file) => `./${file}`,
  parent: (folder, file) => `../${folder.split("/").at(-1)}/${file}`,
  absolute: (folder, file) => `${folder}/${file}`,
  "through a linked folder": (folder, file) => {
    NFS.symlinkSync(folder, `${folder}/linked`)
    return `linked/${file}`
  },
  "a link": (folder, file) => {
    NFS.symlinkSync(file, `${folder}/soft`)
    return "soft"
  },
  "a hard link": (folder, file) => {
    // A file that is not there has no second name.
    if (!NFS.existsSync(`${folder}/${file}`)) return file
    NFS.linkSync(`${folder}/${file}`, `${folder}/hard`)
    return "hard"
  }
}

/** Words of a command line, with the files of a folder among them. */
const inside = (folder: string, args: ReadonlyArray<string>): ReadonlyArray<string> =>
  args.map((word) =>
    word.replace(
      /^(@?)((?:\.\/)?(?:[\w.]+\/)*[\w.]*\.(?:jsonl?|csv)|link|fifo|folder|no\/.*|pages\/.*|new\/.*)$/,
      `$1${folder}/$2`
    )
  )

/** The files of `batch run`, as options have them; of `inputs` and `--key-file` one may be the other. */
const options = ["inputs", "--out", "--journal", "--record", "--key-file"]

const isWritten = (option: string) => option === "--out" || option === "--journal" || option === "--record"

const contentOf: Readonly<Record<string, string>> = { inputs, "--key-file": key, "--out": "of yesterday\n" }

describe("two options that lead to one file", () => {
  const pairs = options.flatMap((one, i) =>
    options.slice(i + 1).flatMap((two) => (isWritten(one) || isWritten(two) ? [[one, two] as const] : []))
  )
  it.live.prop(
    "are refused with status 2, and nothing is touched",
    [FastCheck.constantFrom(...pairs), FastCheck.constantFrom(...Object.keys(aliases)), FastCheck.boolean()],
    ([[one, two], alias, isSwapped]) =>
      Effect.gen(function* () {
        const cwd = yield* folder
        const paths: Record<string, string> = { inputs: "inputs.jsonl" }
        const [named, other] = isSwapped ? [two, one] : [one, two]
        paths[named] = `${named.replace(/^--/, "")}.jsonl`
        for (const [option, path] of Object.entries(paths)) {
          const content = contentOf[option]
          if (content !== undefined) NFS.writeFileSync(`${cwd}/${path}`, content)
        }
        paths[other] = aliases[alias]?.(cwd, paths[named] ?? "") ?? ""
        const before = snapshot(cwd)
        const { inputs: file = "", ...rest } = Object.fromEntries(
          Object.entries(paths).map(([option, path]) => [option, path.startsWith("/") ? path : `${cwd}/${path}`])
        )
        const args = ["batch", "run", "ep", file, ...Object.entries(rest).flat()]
        const { code, stderr } = yield* runHere(args)
        assert.strictEqual(code, 2, args.join(" "))
        assert.match(stderr, /are the same file/)
        assert.deepStrictEqual(snapshot(cwd), before)
      }).pipe(Effect.scoped),
    { fastCheck: { numRuns: 60 }, timeout: 60_000 }
  )

  it.live("are refused by every other command that writes one", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      NFS.writeFileSync(`${cwd}/in.jsonl`, inputs)
      NFS.writeFileSync(`${cwd}/input.json`, `{"a":1}`)
      yield* run(["batch", "run", "ep", "in.jsonl", "--journal", "j.jsonl", "--out", "o.jsonl"], { cwd, env })
      NFS.symlinkSync("j.jsonl", `${cwd}/link`)
      const before = snapshot(cwd)
      const commands = [
        ["batch", "report", "j.jsonl", "--html", "link"],
        ["batch", "report", "link", "--html", "./j.jsonl"],
        ["batch", "resume", "j.jsonl", "--out", "in.jsonl"],
        ["batch", "resume", "j.jsonl", "--out", "link"],
        ["batch", "resume", "j.jsonl", "--out", "j.jsonl.batch.json"],
        ["batch", "resume", "j.jsonl", "--record", "o.jsonl"],
        ["batch", "resume", "j.jsonl", "link"],
        ["run", "ep", "@input.json", "--record", "input.json"],
        ["run", "ep", "@input.json", "--key-file", "input.json", "--record", "./input.json"]
      ]
      for (const args of commands) {
        const { code, stderr, stdout } = yield* runHere(inside(cwd, args), { env })
        assert.deepStrictEqual([code, stdout], [2, ""], args.join(" "))
        assert.match(stderr, /are the same file/, args.join(" "))
        assert.deepStrictEqual(snapshot(cwd), before, args.join(" "))
      }
      // What a shell has opened for appending.
      const line = `'${process.execPath}' '${bin}' batch inspect j.jsonl --all >> j.jsonl`
      const appended = yield* (yield* start("bash", ["-c", line], { cwd, env })).ended
      assert.strictEqual(appended.code, 2)
      assert.match(appended.stderr, /stdout and the journal are the same file/)
      assert.deepStrictEqual(snapshot(cwd), before)
      const led = `'${process.execPath}' '${bin}' batch run ep - --out in.jsonl < in.jsonl`
      const read = yield* (yield* start("bash", ["-c", led], { cwd, env })).ended
      assert.strictEqual(read.code, 2)
      assert.match(read.stderr, /--out and the file of the inputs are the same file/)
      assert.deepStrictEqual(snapshot(cwd), before)
    }).pipe(Effect.scoped)
  )
})

describe("outcomes of an earlier run", () => {
  it.live("stay, and no file is made, when the batch never begins", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      const write = (name: string, text: string) => NFS.writeFileSync(`${cwd}/${name}`, text)
      write("out.jsonl", "of yesterday\n")
      write("in.jsonl", inputs)
      write("late.jsonl", `${inputs}nonsense\n`)
      write("list.jsonl", `${inputs}[1]\n`)
      write("twice.jsonl", `{"id":"a"}\n{"id":"b"}\n{"id":"a"}\n`)
      write("columns.csv", "id,prompt,prompt\n1,a,b\n")
      write("ragged.csv", "id,prompt\n1,a\n2\n")
      NFS.mkdirSync(`${cwd}/folder`)
      const wrongKey = { ...env, RUNPOD_API_KEY: "wrong-key-0123456789" }
      const nobody = { ...env, RUNPOD_BASE_URL: "http://127.0.0.1:1/v2" }
      const before = snapshot(cwd)
      const attempts: ReadonlyArray<readonly [status: number, args: ReadonlyArray<string>, env: typeof env]> = [
        [2, ["ep", "missing.jsonl"], env],
        [2, ["ep", "folder"], env],
        [2, ["ep", "late.jsonl"], env],
        [2, ["ep", "list.jsonl"], env],
        [2, ["ep", "in.jsonl", "--key", "id"], env],
        [2, ["ep", "twice.jsonl", "--key", "id"], env],
        [2, ["ep", "columns.csv"], env],
        [2, ["ep", "ragged.csv"], env],
        [2, ["ep", "in.jsonl", "--max-cost", "1"], env],
        [2, ["e p", "in.jsonl"], env],
        [3, ["ep", "in.jsonl"], { ...env, RUNPOD_API_KEY: "" }],
        [3, ["ep", "in.jsonl"], wrongKey],
        [4, ["nowhere", "in.jsonl"], env],
        [1, ["ep", "in.jsonl"], nobody]
      ]
      const more = ["--out", "out.jsonl", "--journal", "new/j.jsonl", "--record", "new/r.jsonl"]
      yield* Effect.forEach(
        attempts,
        ([status, args, env]) =>
          Effect.map(runHere(inside(cwd, ["batch", "run", ...args, ...more]), { env }), ({ code, stderr }) => {
            assert.strictEqual(code, status, `${args.join(" ")}: ${stderr}`)
            if (status === 2) assert.isAtMost(stderr.trim().split("\n").length, 3, stderr)
            assert.isAtMost(stderr.length, 700)
          }),
        { discard: true }
      )
      const stdin = yield* run(["batch", "run", "ep", "-", ...more], { cwd, env, stdin: "nonsense\n" })
      assert.strictEqual(stdin.code, 2)
      assert.deepStrictEqual(snapshot(cwd), before)
    }).pipe(Effect.scoped)
  )

  it.live("stay when stdin ends with nonsense; what came is beside them, and said", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      NFS.writeFileSync(`${cwd}/out.jsonl`, "of yesterday\n")
      const { code, stderr } = yield* run(["batch", "run", "ep", "-", "--out", "out.jsonl"], {
        cwd,
        env,
        stdin: `{"n":1}\nnonsense\n`
      })
      assert.strictEqual(code, 2)
      const [, part = ""] = /The outcomes of this run are in (\S+)\./.exec(stderr) ?? []
      assert.match(NFS.readFileSync(part, "utf8"), /^\{"index":0,.*"Completed"\}\n$/)
      assert.strictEqual(NFS.readFileSync(`${cwd}/out.jsonl`, "utf8"), "of yesterday\n")
    }).pipe(Effect.scoped)
  )

  it.live("are replaced by those of a batch that did begin, also where they are written by a link", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      NFS.writeFileSync(`${cwd}/out.jsonl`, "of yesterday\n")
      NFS.chmodSync(`${cwd}/out.jsonl`, 0o640)
      NFS.symlinkSync("out.jsonl", `${cwd}/link`)
      const { code } = yield* run(["batch", "run", "ep", "-", "--out", "link"], { cwd, env, stdin: inputs })
      assert.strictEqual(code, 0)
      assert.lengthOf(NFS.readFileSync(`${cwd}/out.jsonl`, "utf8").trim().split("\n"), 3)
      assert.strictEqual(NFS.statSync(`${cwd}/out.jsonl`).mode & 0o777, 0o640)
      assert.sameMembers(NFS.readdirSync(cwd), ["link", "out.jsonl"])
    }).pipe(Effect.scoped)
  )

  it.live("and the settings of a journal stay when the journal is another batch's, or the key is wrong", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      NFS.writeFileSync(`${cwd}/in.jsonl`, inputs)
      yield* run(["batch", "run", "ep", "in.jsonl", "--journal", "j.jsonl", "--out", "out.jsonl"], { cwd, env })
      const before = snapshot(cwd)
      const other = ["batch", "run", "slow", "in.jsonl", "--journal", "j.jsonl", "--out", "out.jsonl"]
      const { code, stderr } = yield* run(other, { cwd, env })
      assert.strictEqual(code, 2)
      assert.match(stderr, /it belongs to a batch on endpoint ep/)
      assert.deepStrictEqual(snapshot(cwd), before)
      NFS.appendFileSync(`${cwd}/in.jsonl`, `{"n":4}\n`)
      const more = snapshot(cwd)
      const wrongKey = { ...env, RUNPOD_API_KEY: "wrong-key-0123456789" }
      assert.strictEqual((yield* run(["batch", "resume", "j.jsonl"], { cwd, env: wrongKey })).code, 3)
      assert.deepStrictEqual(snapshot(cwd), more)
    }).pipe(Effect.scoped)
  )
})

describe("files of a batch", () => {
  it.live("are for their user alone, in a folder that was made for them, whatever the umask allows", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      NFS.writeFileSync(`${cwd}/in.jsonl`, inputs)
      const files = ["--journal", "new/j.jsonl", "--out", "new/o.jsonl", "--record", "new/r.jsonl"]
      yield* run(["batch", "run", "ep", "in.jsonl", ...files], { cwd, env })
      yield* run(["batch", "report", "new/j.jsonl", "--html", "pages/r.html"], { cwd, env })
      const modeOf = (path: string) => (NFS.statSync(`${cwd}/${path}`).mode & 0o777).toString(8)
      assert.deepStrictEqual(["new", "pages"].map(modeOf), ["700", "700"])
      const made = ["new/j.jsonl", "new/j.jsonl.batch.json", "new/o.jsonl", "new/r.jsonl", "pages/r.html"]
      for (const path of made) assert.strictEqual(modeOf(path), "600", path)
    }).pipe(Effect.scoped)
  )

  it.live("may be pipes and devices where that makes sense, and are refused in our words where not", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      NFS.writeFileSync(`${cwd}/in.jsonl`, inputs)
      execFileSync("mkfifo", [`${cwd}/fifo`])
      const batch = (...args: ReadonlyArray<string>) => run(["batch", "run", "ep", "in.jsonl", ...args], { cwd, env })
      const onStdout = yield* batch("--out", "/dev/stdout")
      assert.strictEqual(onStdout.code, 0)
      assert.lengthOf(onStdout.stdout.trim().split("\n"), 3)
      assert.strictEqual((yield* batch("--out", "/dev/null")).code, 0)
      const reader = yield* start("cat", ["fifo"], { cwd })
      assert.strictEqual((yield* batch("--out", "fifo")).code, 0)
      assert.lengthOf((yield* reader.ended).stdout.trim().split("\n"), 3)

      const full = yield* batch("--out", "/dev/full")
      assert.deepStrictEqual([full.code, full.stdout.includes("endpoint ep")], [1, true])
      assert.match(full.stderr, /\/dev\/full: the disk is full\. Make room/)
      const refused = [
        ["--out", cwd],
        ["--out", "no/such/folder/out.jsonl"],
        ["--out", "in.jsonl/out.jsonl"],
        ["--out", "/proc/out.jsonl"],
        ["--journal", cwd],
        ["--journal", "fifo"],
        ["--journal", "/dev/null"],
        ["--record", "in.jsonl/r.jsonl"]
      ]
      for (const args of refused) {
        const { code, stderr } = yield* runHere(inside(cwd, ["batch", "run", "ep", "in.jsonl", ...args]), { env })
        assert.strictEqual(code, 2, `${args.join(" ")}: ${stderr}`)
        assert.notMatch(stderr, /FileSystem|E[A-Z]{4,}|\n.*\n.*\n.*\n/)
      }
      const line = `'${process.execPath}' '${bin}' health ep > /dev/full`
      const unprinted = yield* (yield* start("bash", ["-c", line], { env })).ended
      assert.strictEqual(unprinted.code, 1)
      assert.match(unprinted.stderr, /cannot be written: the disk is full/)
    }).pipe(Effect.scoped)
  )
})
