import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { spawn } from "node:child_process"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import { program } from "../support/program.js"

const { Fault } = Emulator
const count = 80

/** Runs the batch in a process that is killed so long after it has begun, unless it has ended by then. Gives its output. */
const runUntil = (url: string, file: string, signal: NodeJS.Signals, after: number) =>
  Effect.async<string>((resume) => {
    const child = spawn(process.execPath, [program("batchChild"), url, file, String(count)], {
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    child.stdout.on("data", (data: Buffer) => {
      output += data.toString()
      if (output === "begun\n") setTimeout(() => child.kill(signal), after)
    })
    child.stderr.on("data", (data: Buffer) => (output += data.toString()))
    child.on("close", () => resume(Effect.succeed(output)))
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

describe.concurrent("a batch that is killed at random moments, again and again", () => {
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    it.scopedLive(
      `settles every input once and submits none twice (${signal})`,
      () =>
        Effect.gen(function* () {
          const fs = yield* FileSystem
          const folder = yield* fs.makeTempDirectoryScoped()
          const server = yield* NodeEmulator.serve({
            endpoints: { ep: { workers: 12, execution: { min: "50 millis", max: "300 millis" } } },
            faults: [Fault.delay({ operations: ["run"], by: "40 millis" })],
            seed: signal
          })
          let kills = 0
          let output = ""
          // Long enough to get somewhere; two runs are too short for all, since 80 jobs on 12 workers take 1.2 s.
          while (!output.includes("[") && kills++ < 60) {
            const after = yield* Random.nextIntBetween(20, 450)
            output = yield* runUntil(server.url, `${folder}/journal.jsonl`, signal, after)
          }
          assert.isAbove(kills, 2)

          const outcomes: ReadonlyArray<readonly [string, string]> = JSON.parse(output.replace("begun\n", ""))
          assert.deepStrictEqual(
            outcomes.map(([key]) => key),
            Array.from({ length: count }, (_, n) => String(n))
          )
          const jobs = yield* server.jobs("ep")
          for (const [key, kind] of outcomes) {
            const own = jobs.filter(({ input }) => String(input["n"]) === key)
            assert.include(["Completed", "SubmitAmbiguousError"], kind)
            assert.isAtMost(own.length, 1, `jobs of input ${key}`)
            if (kind === "Completed") assert.strictEqual(own.length, 1)
          }
          assert.strictEqual((yield* server.counts).byOperation.cancel.total, 0)
          // An orderly end waits for the answers of its submits.
          const ambiguous = outcomes.filter(([, kind]) => kind === "SubmitAmbiguousError").length
          if (signal === "SIGTERM") assert.strictEqual(ambiguous, 0)
        }).pipe(Effect.provide(NodeFileSystem.layer)),
      120_000
    )
  }
})
