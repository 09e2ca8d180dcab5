import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { readFileSync, writeFileSync } from "node:fs"
import { command, folder, run, served } from "./support/command.js"

interface Row {
  readonly key: string
  readonly result: string
  readonly output?: unknown
  readonly replayed: boolean
}

const rowsOf = (text: string): ReadonlyArray<Row> =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Row)

/** Prompts with what CSV has to quote. */
const prompts = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: `k${i}`, prompt: `a "cat", number ${i}\nand a dog` }))

const csvOf = (rows: ReadonlyArray<{ readonly id: string; readonly prompt: string }>) =>
  ["id,prompt", ...rows.map(({ id, prompt }) => `${id},"${prompt.replaceAll(`"`, `""`)}"`)].join("\n")

describe("a batch", () => {
  it.live("from CSV survives kill -9: it is resumed without a second submit, and its report is JSON", () =>
    Effect.gen(function* () {
      const { env, server } = yield* served({ ep: { workers: 10, execution: "50 millis" } })
      const cwd = yield* folder
      const all = prompts(60)
      writeFileSync(`${cwd}/prompts.csv`, `\ufeff${csvOf(all)}\n`)
      const args = [
        "batch",
        "run",
        "ep",
        "prompts.csv",
        "--key",
        "id",
        "--journal",
        "j.jsonl",
        "--out",
        "out.jsonl",
        "--concurrency",
        "5"
      ]
      const killed = yield* command(args, { cwd, env })
      yield* killed.wrote(/[1-9]\d* done/)
      killed.child.kill("SIGKILL")
      assert.strictEqual((yield* killed.ended).code, 137)

      const seen = yield* run(["batch", "inspect", "j.jsonl", "--all", "-o", "json"], { cwd })
      assert.isAbove((JSON.parse(seen.stdout) as ReadonlyArray<unknown>).length, 0)

      const resumed = yield* run(["batch", "resume", `${cwd}/j.jsonl`, "-o", "json", "--resubmit-ambiguous"], { env })
      assert.strictEqual(resumed.code, 0, resumed.stderr)
      assert.deepInclude(JSON.parse(resumed.stdout), { items: 60, counts: { Completed: 60 } })
      const rows = rowsOf(readFileSync(`${cwd}/out.jsonl`, "utf8"))
      assert.sameDeepMembers(
        rows.map(({ key, output }) => [key, output]),
        all.map((prompt) => [prompt.id, prompt])
      )
      assert.isTrue(rows.some(({ replayed }) => replayed))
      // Five at most were in doubt, and were asked to be submitted again.
      assert.isAtMost((yield* server.jobs("ep")).length, 65)
      const report = yield* run(["batch", "report", "j.jsonl", "-o", "json", "--rate", "0.001"], { cwd })
      assert.deepInclude(JSON.parse(report.stdout), { endpointId: "ep", counts: { Completed: 60 } })
      assert.isAbove((JSON.parse(report.stdout) as { readonly cost: { readonly floor: number } }).cost.floor, 0)
    }).pipe(Effect.scoped)
  )

  it.live("leaves at most 20 items in doubt when it is killed while it submits", () =>
    Effect.gen(function* () {
      // Answers take longer than anything here: the first submits stay on their way.
      const { env, server } = yield* served({ faults: [{ _tag: "Delay", by: "1 minute", operations: ["run"] }] })
      const cwd = yield* folder
      const stdin = Array.from({ length: 300 }, (_, n) => `{"n":${n}}\n`).join("")
      const killed = yield* command(["batch", "run", "ep", "-", "--journal", "j.jsonl"], { cwd, env, stdin })
      yield* Effect.repeat(server.requests, {
        until: (requests) => requests.length >= 20,
        schedule: Schedule.spaced("20 millis")
      })
      killed.child.kill("SIGKILL")
      yield* killed.ended
      const { stdout } = yield* run(["batch", "report", "j.jsonl", "-o", "json"], { cwd })
      assert.deepInclude(JSON.parse(stdout), { counts: { "in doubt": 20 } })
    }).pipe(Effect.scoped)
  )

  it.live("says at Ctrl-C what goes on and how to resume, and does that from stdin", () =>
    Effect.gen(function* () {
      const { env, server } = yield* served({ ep: { workers: 2, execution: "5 seconds" } })
      const cwd = yield* folder
      const stdin = `{"n":1}\n\n{"n":2}\n`
      const stopped = yield* command(["batch", "run", "ep", "-", "--journal", "my batch.jsonl"], { cwd, env, stdin })
      yield* stopped.wrote(/2 in flight/)
      const swept = yield* run(["jobs", "sweep", "ep", "my batch.jsonl", "--yes"], { cwd, env })
      assert.deepStrictEqual([swept.code, swept.stdout], [2, ""])
      assert.include(swept.stderr, "A process has my batch.jsonl")
      stopped.child.kill("SIGINT")
      const { code, stderr } = yield* stopped.ended
      assert.strictEqual(code, 130)
      assert.match(stderr, /2 items in flight: those that have a job by now go on at RunPod/)
      assert.include(stderr, "effect-runpod batch resume 'my batch.jsonl' - < the same inputs")
      const without = yield* run(["batch", "resume", "my batch.jsonl"], { cwd, env })
      assert.deepStrictEqual([without.code, without.stdout], [2, ""])

      const { stdout } = yield* run(["batch", "resume", "my batch.jsonl", "-", "-o", "json"], { cwd, env, stdin })
      const rows = JSON.parse(stdout) as ReadonlyArray<Row>
      assert.deepStrictEqual(
        rows.map(({ output }) => output),
        [{ n: 1 }, { n: 2 }]
      )
      assert.lengthOf(yield* server.jobs("ep"), 2)
    }).pipe(Effect.scoped)
  )

  it.live("stops at failures and at a budget with 7, and ends with 5 when some have failed", () =>
    Effect.gen(function* () {
      const { env } = yield* served({ ep: { execution: "100 millis" } })
      const stdin = Array.from({ length: 20 }, (_, n) => JSON.stringify({ n })).join("\n")
      const [failures, budget, some] = yield* Effect.all(
        [
          run(["batch", "run", "bad", "-", "--max-failures", "2", "--concurrency", "1", "-o", "jsonl"], { env, stdin }),
          run(
            [
              "batch",
              "run",
              "ep",
              "-",
              "--max-cost",
              "0.0005",
              "--rate",
              "0.001",
              "--expected-execution",
              "100ms",
              "--concurrency",
              "1",
              "-o",
              "jsonl"
            ],
            { env, stdin }
          ),
          run(["batch", "run", "bad", "-", "-o", "json"], { env, stdin: `{"n":1}` })
        ],
        { concurrency: 3 }
      )
      assert.strictEqual(failures.code, 7)
      assert.lengthOf(rowsOf(failures.stdout), 2)
      assert.strictEqual(budget.code, 7)
      assert.isBelow(rowsOf(budget.stdout).length, 6)
      assert.match(budget.stderr, /--max-cost has no room for the next job \(\$/)
      assert.match(failures.stderr, /stopped after 2 outcomes: as many items failed as --max-failures allows/)
      assert.notMatch(failures.stderr + budget.stderr, /maxCost|maxFailures/)
      assert.strictEqual(some.code, 5)
      assert.deepInclude((JSON.parse(some.stdout) as ReadonlyArray<Row>)[0], { result: "JobFailedError" })
    }).pipe(Effect.scoped)
  )

  it.live("names the line of an input that it cannot read, settles what was before it, and closes its array", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const { code, stderr, stdout } = yield* run(["batch", "run", "ep", "-", "-o", "json"], {
        env,
        stdin: `{"n":1}\n[2]\n`
      })
      assert.strictEqual(code, 2)
      assert.lengthOf(JSON.parse(stdout) as ReadonlyArray<Row>, 1)
      assert.include(stderr, "Line 2 of - is no JSON object")
      const keyless = yield* run(["batch", "run", "ep", "-", "--key", "id"], { env, stdin: `{"n":1}\n` })
      assert.strictEqual(keyless.code, 2)
      assert.include(keyless.stderr, "Input 1 has no id")
      const missing = yield* run(["batch", "run", "ep", "nowhere.csv"], { env })
      assert.strictEqual(missing.code, 2)
    }).pipe(Effect.scoped)
  )
})
