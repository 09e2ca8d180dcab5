/** The lock between machines, containers and boots. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { hostname } from "node:os"
import * as AppendLog from "../../../src/internal/files/appendLog.js"
import { program } from "../../support/program.js"

const options = { format: "test", sync: "never" } as const
const nobody = 2 ** 22 + 1

const withFile = <A, E>(use: (file: string, fs: FileSystem) => Effect.Effect<A, E, FileSystem>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const fs = yield* FileSystem
      return yield* use(`${yield* fs.makeTempDirectoryScoped()}/log.jsonl`, fs)
    })
  ).pipe(Effect.provide(NodeFileSystem.layer))

const open = (file: string, more: Partial<AppendLog.Options> = {}) =>
  Effect.either(Effect.scoped(AppendLog.open(file, { ...options, ...more })))

/** What this process writes into a lock. */
const ownHolder = (file: string, fs: FileSystem) =>
  Effect.scoped(
    Effect.gen(function* () {
      yield* AppendLog.open(file, options)
      return JSON.parse(yield* fs.readFileString(`${file}.lock`)) as Record<string, unknown>
    })
  )

const isLinux = existsSync("/proc/self/ns/pid")

describe("the holder of a lock", () => {
  it.live.runIf(isLinux)("says its host, boot, PID namespace and start", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        const holder = yield* ownHolder(file, fs)
        assert.deepInclude(holder, {
          host: hostname(),
          pid: process.pid,
          boot: (yield* fs.readFileString("/proc/sys/kernel/random/boot_id")).trim(),
          namespace: yield* fs.readLink("/proc/self/ns/pid")
        })
        assert.match(String(holder["start"]), /^\d+$/)
      })
    )
  )

  const cases: ReadonlyArray<readonly [string, Record<string, unknown>, string | undefined]> = [
    ["that has ended is taken over", { pid: nobody }, undefined],
    ["whose number was given to another process is taken over", { start: "1" }, undefined],
    ["that lives is refused", {}, `process ${process.pid} on ${hostname()} holds it. Wait`],
    ["in another PID namespace is refused", { pid: nobody, namespace: "pid:[1]" }, "another PID namespace (pid:[1])"],
    ["of another boot is refused", { pid: nobody, boot: "x", start: "1" }, "before it was restarted"],
    ["on another host is refused", { pid: nobody, host: "there" }, "cannot be asked from here"],
    // Written by a version that did not say more.
    [
      "without boot and namespace that has ended is taken over",
      { pid: nobody, boot: undefined, namespace: undefined },
      undefined
    ],
    ["without boot and namespace that lives is refused", { boot: undefined, namespace: undefined }, "holds it. Wait"]
  ]
  for (const [name, fields, refusal] of cases) {
    it.live.runIf(isLinux)(name, () =>
      withFile((file, fs) =>
        Effect.gen(function* () {
          const text = JSON.stringify({ ...(yield* ownHolder(file, fs)), ...fields })
          yield* fs.writeFileString(`${file}.lock`, text)
          const opened = yield* open(file)
          if (refusal === undefined) return assert.strictEqual(opened._tag, "Right")
          assert(opened._tag === "Left")
          assert.deepInclude({ ...opened.left }, { reason: "Locked", file: `${file}.lock` })
          assert.include(opened.left.message, refusal)
          assert.include(opened.left.message, "`force: true`")
          assert.strictEqual(yield* fs.readFileString(`${file}.lock`), text)
          assert.strictEqual((yield* open(file, { force: true }))._tag, "Right")
        })
      )
    )
  }

  for (const [name, state, threads, taken] of [
    ["that has ended, but whose parent has not asked how, is taken over", "Z", 1, true],
    ["that is gone but for its entry is taken over", "X", 0, true],
    ["that has ended but for a thread is refused", "Z", 2, false],
    ["that stands still is refused", "T", 1, false]
  ] as const) {
    it.live.runIf(isLinux)(name, () =>
      withFile((file, fs) =>
        Effect.gen(function* () {
          const holder = yield* ownHolder(file, fs)
          yield* fs.writeFileString(`${file}.lock`, JSON.stringify({ ...holder, id: "x" }))
          const seen = FileSystem.of({
            ...fs,
            readFileString: (path) =>
              Effect.map(fs.readFileString(path), (text) => {
                if (path !== `/proc/${process.pid}/stat`) return text
                const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
                return `${process.pid} (a) Z) ${fields.with(0, state).with(17, String(threads)).join(" ")}`
              })
          })
          const opened = yield* Effect.provideService(open(file), FileSystem, seen)
          assert.strictEqual(opened._tag, taken ? "Right" : "Left")
        })
      )
    )
  }

  it.live.runIf(isLinux)("that says where it is is refused by a process that cannot tell where it is itself", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        const holder = yield* ownHolder(file, fs)
        yield* fs.writeFileString(`${file}.lock`, JSON.stringify({ ...holder, pid: nobody }))
        const blind = FileSystem.of({ ...fs, readLink: () => fs.readLink(`${file}.missing`) })
        const opened = yield* Effect.provideService(open(file), FileSystem, blind)
        assert(opened._tag === "Left")
        assert.strictEqual(opened.left.reason, "Locked")
      })
    )
  )
})

/** Runs a command as the first process of a PID namespace of its own, as the processes of containers are. */
const contained = (["-p", "-r -p"] as const)
  .map((flags) => [...flags.split(" "), "-f", "--mount-proc", "--kill-child"])
  .find((flags) => spawnSync("unshare", [...flags, "true"]).status === 0)

describe("two containers of one host name on one volume", () => {
  it.scopedLive.runIf(contained !== undefined)("do not take each other's lock, alive or dead, without `force`", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        /** Takes the lock in a container, and gives what it says. */
        const take = Effect.gen(function* () {
          const command = [...(contained ?? []), process.execPath, program("lockTaker"), file]
          const child = yield* Effect.acquireRelease(
            Effect.sync(() => spawn("unshare", command, { stdio: ["pipe", "pipe", "inherit"] })),
            (child) => Effect.sync(() => void child.kill("SIGKILL"))
          )
          const line = Effect.async<string>((resume) => {
            child.stdout.once("data", (data: Buffer) => resume(Effect.succeed(data.toString().trim())))
          })
          assert.strictEqual(yield* line, "ready")
          child.stdin.write("go\n")
          return { child, said: yield* line }
        })
        const first = yield* take
        assert.strictEqual(first.said, "won")
        const holder = JSON.parse(yield* fs.readFileString(`${file}.lock`)) as Record<string, unknown>
        assert.deepInclude(holder, { host: hostname(), pid: 1 })
        const second = yield* take
        assert.strictEqual(second.said, "Locked")
        assert.strictEqual((yield* open(file))._tag, "Left")
        const ended = new Promise((resolve) => first.child.once("exit", resolve))
        first.child.kill("SIGKILL")
        yield* Effect.promise(() => ended)
        assert.strictEqual((yield* take).said, "Locked")
        assert.strictEqual((yield* open(file, { force: true }))._tag, "Right")
        assert.strictEqual((yield* take).said, "won")
      }).pipe(Effect.scoped)
    )
  )
})
