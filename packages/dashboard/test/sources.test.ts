import { FileSystem } from "@effect/platform"
import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Fault } from "effect-runpod/Emulator"
import { NodeEmulator } from "effect-runpod/Node"
import { type Clock, Deferred, Effect, Option } from "effect"
import { Source } from "effect-runpod-dashboard"
import { spawn } from "node:child_process"
import { program } from "../../../test/support/program.js"
import { watch } from "../src/internal/sampler.js"
import { fleet } from "./support/fleet.js"
import { until } from "./support/until.js"

/** Runs an effect at a later time of the clock. */
const later =
  (millis: number) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.clockWith((clock) => {
      const ahead: Clock.Clock = Object.assign(Object.create(clock), {
        currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + millis)
      })
      return Effect.withClock(effect, ahead)
    })

describe("an endpoint of RunPod as a source", () => {
  const ended = (emulator: NodeEmulator.Server, count: number) =>
    until(emulator.counts, (counts) => counts.ended.COMPLETED + counts.ended.FAILED >= count)
  const asked = (emulator: NodeEmulator.Server) =>
    Effect.map(emulator.counts, ({ byOperation }) => [byOperation.health.total, byOperation.requests.total])

  it.scopedLive("tells workers and recent jobs, and asks for them every 5 seconds at most", () =>
    Effect.gen(function* () {
      const { emulator, runPod } = yield* fleet(5)
      yield* ended(emulator, 4)
      const source = Source.endpoint(runPod, "upscaler")
      const first = yield* source.read(0)
      assert.strictEqual(first.problem, undefined)
      assert.isTrue(first.isReset)
      const workers = Object.values(first.health?.workers ?? {}).filter((count) => typeof count === "number")
      assert.isAtLeast(Math.max(...workers), 1)
      assert.strictEqual(first.health?.jobs.inProgress, 1)
      const byStatus = (status: string) => first.jobs.filter((job) => job.status === status)
      assert.strictEqual(first.jobs.length, 5)
      assert.strictEqual(byStatus("COMPLETED").length, 3)
      const [failed] = byStatus("FAILED")
      assert.isNumber(failed?.delayTime)
      for (const { executionTime } of byStatus("COMPLETED")) assert.isAtLeast(executionTime ?? 0, 100)
      assert.deepStrictEqual(yield* asked(emulator), [1, 1])

      const second = yield* later(4_000)(source.read(first.cursor))
      assert.deepStrictEqual([second.isReset, second.jobs.length], [false, 0])
      assert.deepStrictEqual(second.health, first.health)
      assert.deepStrictEqual(yield* asked(emulator), [1, 1])
      yield* later(60_000)(source.read(second.cursor))
      assert.deepStrictEqual(yield* asked(emulator), [2, 2])
    })
  )

  it.scopedLive("keeps its jobs while RunPod does not tell them, and says why", () =>
    Effect.gen(function* () {
      const { emulator, runPod } = yield* fleet(2)
      const watched = yield* watch(Source.endpoint(runPod, "upscaler"), { interval: "1 hour", kept: 10 })
      assert.deepStrictEqual([watched.index.total, watched.history[0]?.problem], [2, undefined])
      yield* emulator.setFaults([Fault.serverError({ operations: ["requests"], status: 400 })])
      const update = yield* later(60_000)(watched.source.read(0))
      watched.index.apply(update)
      assert.include(update.problem, "400")
      assert.isNumber(update.health?.jobs.completed)
      assert.strictEqual(watched.index.total, 2)
    })
  )

  it.scopedLive("shows outputs, cancels and retries through the client", () =>
    Effect.gen(function* () {
      const { emulator, runPod } = yield* fleet(5)
      yield* ended(emulator, 4)
      const { actions, payload, read } = Source.endpoint(runPod, "upscaler")
      const { jobs } = yield* read(0)
      const idOf = (status: string) => jobs.find((job) => job.status === status)?.id ?? ""
      const shown = yield* payload?.(idOf("COMPLETED")) ?? Effect.succeedNone
      assert.include(JSON.stringify(Option.getOrThrow(shown)), "alert(1)")
      yield* actions.cancel?.(idOf("IN_PROGRESS")) ?? Effect.void
      assert.strictEqual((yield* emulator.counts).ended.CANCELLED, 1)
      yield* actions.retry?.(idOf("FAILED")) ?? Effect.void
      assert.strictEqual((yield* emulator.counts).byOperation.retry.byStatus[200], 1)
      const refused = yield* Effect.flip(actions.cancel?.("no-such-job") ?? Effect.void)
      assert.match(refused, /no-such-job|404/)
    })
  )
})

describe("the journal of another process as a source", () => {
  it.scopedLive("is followed while that appends, is killed, and a new one goes on", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = `${yield* fs.makeTempDirectoryScoped()}/journal.jsonl`
      const gate = yield* Deferred.make<void>()
      const emulator = yield* NodeEmulator.serve({
        endpoints: { ep: { workers: 50, handler: ({ n }) => Effect.as(Number(n) < 3 ? Effect.void : gate, { n }) } }
      })
      const { history, index } = yield* watch(yield* Source.journal(path), { interval: "10 millis", kept: 100_000 })
      assert.include(history[0]?.problem, path)
      const start = Effect.acquireRelease(
        Effect.sync(() =>
          spawn(process.execPath, [program("batchChild"), emulator.url, path, "20"], { stdio: "ignore" })
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      const counts = Effect.sync(() => [index.countOf("COMPLETED"), index.countOf("SUBMITTED"), index.total])
      const isHalfWay = ([completed, submitted]: ReadonlyArray<number>) => completed === 3 && submitted === 12
      const length = Effect.sync(() => history.length)

      const first = yield* start
      const closed = Effect.async<NodeJS.Signals | null>((resume) => {
        first.on("close", (_, signal) => resume(Effect.succeed(signal)))
      })
      // Three have ended, twelve are submitted, and there is no room for more.
      yield* until(counts, isHalfWay)
      const exit = yield* Effect.fork(closed)
      yield* Effect.yieldNow()
      first.kill("SIGKILL")
      assert.strictEqual(yield* exit, "SIGKILL")

      const whole = yield* fs.readFileString(path)
      const [last = ""] = whole.trimEnd().split("\n").slice(-1)
      yield* fs.writeFileString(path, last.slice(0, last.length / 2), { flag: "a" })
      // The first of these samples may have been begun before.
      const before = yield* length
      yield* until(length, (now) => now >= before + 2)
      assert.deepStrictEqual(yield* counts, [3, 12, 15])
      assert.isTrue(history.slice(-2).every(({ problem }) => problem === undefined))

      yield* start
      yield* Deferred.succeed(gate, undefined)
      yield* until(counts, ([completed]) => completed === 20)
      assert.deepStrictEqual(yield* counts, [20, 0, 20])
      assert.strictEqual((yield* emulator.counts).submitted, 20)
      assert.isTrue(history.every((sample, i) => sample.done >= (history[i - 1]?.done ?? 0)))
    }).pipe(Effect.provide(NodeFileSystem.layer))
  )
})
