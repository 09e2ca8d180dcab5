import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import { spawn } from "node:child_process"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import { program } from "../support/program.js"

const { Fault } = Emulator
const count = 40

/** Runs the batch in a process that is killed at this moment, unless it has ended by then. Gives its output. */
const runUntil = (url: string, file: string, signal: NodeJS.Signals, moment: Effect.Effect<unknown>) =>
  Effect.gen(function* () {
    const child = spawn(process.execPath, [program("batchChild"), url, file, String(count)], {
      stdio: ["ignore", "pipe", "pipe"]
    })
    const kill = yield* Effect.fork(
      Effect.zipRight(
        moment,
        Effect.sync(() => child.kill(signal))
      )
    )
    const output = yield* Effect.async<string>((resume) => {
      let output = ""
      child.stdout.on("data", (data: Buffer) => (output += data.toString()))
      child.stderr.on("data", (data: Buffer) => (output += data.toString()))
      child.on("close", () => resume(Effect.succeed(output)))
      return Effect.sync(() => void child.kill("SIGKILL"))
    })
    yield* Fiber.interrupt(kill)
    return output
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
          // Some requests on and a little later, however slow the machine is. Two runs are too short for 40 submits and results.
          while (!output.includes("[") && kills++ < 60) {
            const requests = (yield* server.counts).total + (yield* Random.nextIntBetween(3, 30))
            const moment = server.counts.pipe(
              Effect.delay("1 millis"),
              Effect.repeat({ until: ({ total }) => total >= requests }),
              Effect.zipRight(Effect.sleep(yield* Random.nextIntBetween(0, 50)))
            )
            output = yield* runUntil(server.url, `${folder}/journal.jsonl`, signal, moment)
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
