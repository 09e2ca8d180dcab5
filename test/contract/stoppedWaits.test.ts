import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Schema, Stream, TestClock } from "effect"
import { readFileSync } from "node:fs"
import { tablesBelow } from "../../scripts/blocks.mjs"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import type { JobHandle } from "../../src/services/JobHandle.js"
import type { RunPod } from "../../src/services/RunPod.js"
import { root } from "../support/bundle.js"

const schemas = { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown }
const input = { n: 1 }
type Typed = Endpoint.MadeEndpoint<typeof input, unknown>
type Options = { readonly timeout?: "1 minute" }
type Wait = (endpoint: Typed, options: Options) => Effect.Effect<unknown, unknown, RunPod>

/** A job that was submitted with `run`, and is then waited for. */
const handled =
  (wait: (job: JobHandle<unknown>, options: Options, endpoint: Typed) => Effect.Effect<unknown, unknown>): Wait =>
  (endpoint, options) =>
    Effect.flatMap(endpoint.run(input), (job) => wait(job, options, endpoint))

const journalled =
  (wait: (endpoint: Typed, options: Batch.Options<typeof input>) => Effect.Effect<unknown, unknown>): Wait =>
  (endpoint, options) =>
    Effect.flatMap(BatchJournal.memory, (journal) => wait(endpoint, { ...options, journal }))

const runBatch = (endpoint: Typed, options: Batch.Options<typeof input>) =>
  Stream.runDrain(Batch.run(endpoint, [input], options))
const collect = (endpoint: Typed, options: Batch.Options<typeof input>) => Batch.collect(endpoint, [input], options)

/** By the first cell of a row of the README's table. */
const waits: Readonly<Record<string, Readonly<Record<string, Wait>>>> = {
  "`call`, `runSync`": {
    call: (endpoint, options) => endpoint.call(input, options),
    runSync: (endpoint, options) => endpoint.runSync(input, options)
  },
  "`callStream`": { callStream: (endpoint, options) => Stream.runDrain(endpoint.callStream(input, options)) },
  "`run`, then `result`, `settle`, `watch`, `stream`": {
    result: handled((job, options) => job.result(options)),
    settle: handled((job, options) => job.settle(options)),
    watch: handled((job, options) => Stream.runDrain(job.watch(options))),
    stream: handled((job, options) => Stream.runDrain(job.stream(options)))
  },
  "`Batch.run`, `.collect`": { run: runBatch, collect },
  "`Batch.run`, `.collect`, with a journal": { run: journalled(runBatch), collect: journalled(collect) },
  "`Batch.wait`, and a handle of `attach`": {
    wait: handled((job, options, endpoint) => Batch.wait(endpoint, [job], options)),
    attach: handled((job, options, endpoint) => endpoint.attach(job.id).result(options))
  }
}

/** How the job stands a while after nobody waits for it any more. */
const statusAfter = (wait: Wait, isInterrupted: boolean) =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make("abc123", schemas)
    const fiber = yield* Effect.fork(Effect.exit(wait(endpoint, isInterrupted ? {} : { timeout: "1 minute" })))
    yield* TestClock.adjust("50 seconds")
    if (isInterrupted) yield* Fiber.interruptFork(fiber)
    yield* TestClock.adjust("30 seconds")
    assert.isTrue(Option.isSome(yield* Fiber.poll(fiber)))
    const [job] = yield* (yield* Emulator.Emulator).jobs("abc123")
    return job?.status
  }).pipe(Effect.provide(Emulator.layerRunPod({ endpoints: { abc123: { execution: "1 hour" } } })))

const [table] = tablesBelow(readFileSync(`${root}README.md`, "utf8"), "When you stop waiting")

it("the README's table names every way of waiting", () => {
  assert.deepStrictEqual(
    table?.rows.map(([what]) => what),
    Object.keys(waits)
  )
})

describe("a job nobody waits for any more ends as the README's table says", () => {
  for (const [what = "", interrupted = "", timedOut = ""] of table?.rows ?? []) {
    for (const [name, wait] of Object.entries(waits[what] ?? {})) {
      for (const [how, cell] of Object.entries({ interrupted, timedOut })) {
        it.effect(`${what}: ${name}, ${how}: ${cell}`, () =>
          Effect.gen(function* () {
            const expected = cell.includes("cancelled") ? "CANCELLED" : "IN_PROGRESS"
            assert.strictEqual(yield* statusAfter(wait, how === "interrupted"), expected)
          })
        )
      }
    }
  }
})
