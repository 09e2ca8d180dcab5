import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import { spawn } from "node:child_process"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import type * as Batch from "../../src/services/Batch.js"
import type { Numbered } from "../support/batches.js"
import { program } from "../support/program.js"

const { Fault } = Emulator
const count = 40

interface BatchProcess {
  readonly url: string
  readonly file: string
  readonly count: number
  readonly options?: Batch.Options<Numbered>
}

/** Runs the batch in a process that gets a signal at this moment, unless it has ended by then. */
const runUntil = (
  { count, file, options = {}, url }: BatchProcess,
  signal: NodeJS.Signals,
  moment: (output: () => string) => Effect.Effect<unknown>
) =>
  Effect.gen(function* () {
    const args = [program("batchChild"), url, file, String(count), JSON.stringify(options)]
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    child.stdout.on("data", (data: Buffer) => (output += data.toString()))
    child.stderr.on("data", (data: Buffer) => (output += data.toString()))
    const kill = yield* Effect.fork(
      Effect.zipRight(
        moment(() => output),
        Effect.sync(() => child.kill(signal))
      )
    )
    const code = yield* Effect.async<number | null>((resume) => {
      child.on("close", (code) => resume(Effect.succeed(code)))
      return Effect.sync(() => void child.kill("SIGKILL"))
    })
    yield* Fiber.interrupt(kill)
    return { code, output }
  })

/** How each item came out, once a process has run the batch to its end. */
const outcomesIn = (output: string): ReadonlyArray<readonly [string, string]> | undefined => {
  const line = output.split("\n").find((line) => line.startsWith("[["))
  return line === undefined ? undefined : JSON.parse(line)
}

/** Kills processes, each some requests and a little later, however slow the machine is, until one has run the batch to its end. */
const runToTheEnd = (
  batch: BatchProcess,
  signal: NodeJS.Signals,
  { from, server, to }: { readonly server: NodeEmulator.Server; readonly from: number; readonly to: number }
) =>
  Effect.gen(function* () {
    for (let runs = 1; runs <= 60; runs++) {
      const requests = (yield* server.counts).total + (yield* Random.nextIntBetween(from, to))
      const moment = server.counts.pipe(
        Effect.delay("4 millis"),
        Effect.repeat({ until: ({ total }) => total >= requests }),
        Effect.zipRight(Effect.sleep(yield* Random.nextIntBetween(0, 50)))
      )
      const { output } = yield* runUntil(batch, signal, () => moment)
      const outcomes = outcomesIn(output)
      if (outcomes !== undefined) return { outcomes, runs }
    }
    return yield* Effect.dieMessage("it does not come to its end")
  })

const keys = (count: number) => Array.from({ length: count }, (_, n) => String(n))

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
          const batch = { url: server.url, file: `${folder}/journal.jsonl`, count }
          // Two runs are too short for 40 submits and results.
          const { outcomes, runs } = yield* runToTheEnd(batch, signal, { server, from: 8, to: 30 })
          assert.isAbove(runs, 2)

          assert.deepStrictEqual(
            outcomes.map(([key]) => key),
            keys(count)
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

  it.scopedLive(
    "while failed items run again, runs each of them once again, and no other",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem
        const folder = yield* fs.makeTempDirectoryScoped()
        const isOutOfMemory = (n: unknown) => Number(n) % 9 === 5
        let isMended = false
        const server = yield* NodeEmulator.serve({
          endpoints: {
            ep: {
              workers: 50,
              handler: ({ n }) => {
                if (!isOutOfMemory(n)) return Effect.succeed({ n })
                return isMended
                  ? Effect.delay(Effect.succeed({ n }), "300 millis")
                  : Effect.fail(new Error("CUDA out of memory"))
              }
            }
          },
          faults: [Fault.delay({ operations: ["run"], by: "40 millis" })],
          seed: "failed"
        })
        const batch = { url: server.url, file: `${folder}/journal.jsonl`, count: 60, options: { concurrency: 60 } }
        const first = yield* runUntil(batch, "SIGKILL", () => Effect.never)
        assert.strictEqual(first.code, 0, first.output)
        const failed = (outcomesIn(first.output) ?? []).filter(([, kind]) => kind === "JobFailedError")
        assert.strictEqual(failed.length, 7)

        isMended = true
        const again = { ...batch, options: { concurrency: 2, onFailed: "resubmit" as const } }
        const { outcomes, runs } = yield* runToTheEnd(again, "SIGKILL", { server, from: 1, to: 6 })
        assert.isAbove(runs, 2)
        assert.deepStrictEqual(
          outcomes.map(([key]) => key),
          keys(60)
        )
        const jobs = yield* server.jobs("ep")
        for (const [key, kind] of outcomes) {
          const own = jobs.filter(({ input }) => String(input["n"]) === key).length
          if (!isOutOfMemory(key)) assert.deepStrictEqual([kind, own], ["Completed", 1], `input ${key}`)
          else if (kind === "Completed") assert.strictEqual(own, 2, `jobs of input ${key}`)
          else {
            assert.strictEqual(kind, "SubmitAmbiguousError")
            assert.isAtMost(own, 2, `jobs of input ${key}`)
          }
        }
      }).pipe(Effect.provide(NodeFileSystem.layer)),
    120_000
  )
})

describe.concurrent("a batch with a journal that a signal interrupts", () => {
  for (const { signal, status } of [
    { signal: "SIGINT", status: 130 },
    { signal: "SIGTERM", status: 143 }
  ] as const) {
    it.scopedLive(
      `says how many jobs go on and how to go on itself, and ends with status ${status} (${signal})`,
      () =>
        Effect.gen(function* () {
          const fs = yield* FileSystem
          const folder = yield* fs.makeTempDirectoryScoped()
          const gate = yield* Deferred.make<void>()
          const server = yield* NodeEmulator.serve({
            endpoints: {
              ep: { workers: 50, handler: ({ n }) => Effect.as(Number(n) < 3 ? Effect.void : gate, { n }) }
            },
            seed: signal
          })
          const batch = { url: server.url, file: `${folder}/journal.jsonl`, count: 20 }
          // Three have ended, so fifteen were submitted, of which twelve run.
          const submitted = server.counts.pipe(
            Effect.delay("5 millis"),
            Effect.repeat({ until: (counts) => counts.submitted === 15 })
          )
          const first = yield* runUntil(batch, signal, () => submitted)
          assert.strictEqual(first.code, status, first.output)
          assert.notInclude(first.output, "goes on from its journal")
          assert.include(
            first.output,
            "The batch on endpoint ep was interrupted, and 12 of its jobs go on at RunPod. Run it again with the same journal"
          )
          assert.strictEqual((yield* server.counts).byOperation.cancel.total, 0)

          // The first thing that the next run says.
          const resumes =
            "The batch on endpoint ep goes on from its journal: 3 settled, 12 still at RunPod, 5 to submit"
          const opening = (output: () => string) =>
            Effect.sync(() => output().includes(resumes)).pipe(
              Effect.delay("5 millis"),
              Effect.repeat({ until: (isSaid) => isSaid }),
              Effect.zipRight(Deferred.succeed(gate, undefined)),
              Effect.zipRight(Effect.never)
            )
          const second = yield* runUntil(batch, signal, opening)
          assert.strictEqual(second.code, 0, second.output)
          assert.deepStrictEqual(
            outcomesIn(second.output),
            keys(20).map((key) => [key, "Completed"])
          )
          assert.notInclude(second.output, "interrupted")
          assert.strictEqual((yield* server.counts).submitted, 20)
        }).pipe(Effect.provide(NodeFileSystem.layer)),
      120_000
    )
  }

  it.scopedLive("or that cannot be opened ends with status 1", () =>
    Effect.gen(function* () {
      const batch = { url: "http://127.0.0.1:1", file: "/nowhere/journal.jsonl", count: 1 }
      const { code, output } = yield* runUntil(batch, "SIGKILL", () => Effect.never)
      assert.strictEqual(code, 1)
      assert.include(output, "BatchJournalError")
    })
  )
})
