import { assert, describe, it } from "@effect/vitest"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Flight from "effect-runpod/Flight"
import { NodeRunPod } from "effect-runpod/Node"
import * as RunPod from "effect-runpod/RunPod"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { readFileSync, writeFileSync } from "node:fs"
import { command, folder, run, served } from "./support/command.js"

const json = (text: string): unknown => JSON.parse(text)

describe("a job", () => {
  it.live("is submitted from JSON, a file or stdin, shown, followed, retried and cancelled, each as JSON", () =>
    Effect.gen(function* () {
      const { env, server } = yield* served()
      const file = `${yield* folder}/input.json`
      writeFileSync(file, `{"from": "file"}`)
      const { stdout } = yield* run(["run", "ep", `@${file}`], { env })
      assert.deepStrictEqual(json(stdout), { from: "file" })

      const detached = yield* run(["run", "slow", `{"a":1}`, "--detach", "--ttl", "2h", "-o", "json"], { env })
      const { id } = json(detached.stdout) as { readonly id: string }
      const reads = [
        ["status", "slow", id],
        ["health", "slow", "--diagnose"],
        ["jobs", "list", "slow"],
        ["jobs", "orphans", "slow"],
        ["doctor", "slow"]
      ]
      const ends = [
        ["cancel", "slow", id],
        ["watch", "slow", id],
        ["purge", "slow", "--yes"]
      ]
      const asJson = (args: ReadonlyArray<string>) =>
        Effect.map(run([...args, "-o", "json"], { env }), ({ stdout }) => json(stdout))
      const values = yield* Effect.forEach(reads, asJson, { concurrency: 3 })
      // The job is there until they have been answered.
      yield* Effect.forEach(ends, asJson)
      assert.deepInclude(values[0], { id })
      assert.lengthOf(values[2] as Array<unknown>, 1)
      assert.deepInclude((values[3] as Array<unknown>)[0], { id, journal: null })
      assert.lengthOf(yield* server.jobs("slow"), 1)
    }).pipe(Effect.scoped)
  )

  it.live("that fails is data on stdout, a sentence on stderr, and status 5", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const { code, stderr, stdout } = yield* run(["run", "bad", `{"a":1}`, "-o", "json"], { env })
      assert.strictEqual(code, 5)
      assert.deepInclude(json(stdout), { status: "FAILED" })
      assert.include(stderr, "no such model")
      const { id } = json(stdout) as { readonly id: string }
      assert.strictEqual((yield* run(["watch", "bad", id], { env })).code, 5)
      assert.strictEqual((yield* run(["status", "bad", id], { env })).code, 0)
      assert.deepInclude(json((yield* run(["retry", "bad", id, "-o", "json"], { env })).stdout), { id })
    }).pipe(Effect.scoped)
  )

  it.live("streams: texts as they are, or as an array", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const submit = run(["run", "words", `{"a":1}`, "--detach"], { env })
      const text = yield* run(["stream", "words", (yield* submit).stdout.trim()], { env })
      assert.strictEqual(text.stdout, `a cat{"tokens":2}\n`)
      const array = yield* run(["stream", "words", (yield* submit).stdout.trim(), "-o", "json"], { env })
      assert.deepStrictEqual(json(array.stdout), ["a ", "cat", { tokens: 2 }])
    }).pipe(Effect.scoped)
  )

  it.live("that does not end in time goes on, with status 7 and how to wait again", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const { code, stderr } = yield* run(["run", "slow", `{"a":1}`, "--timeout", "300ms"], { env })
      assert.strictEqual(code, 7)
      assert.match(stderr, /goes on at RunPod[^]*effect-runpod watch slow /)
    }).pipe(Effect.scoped)
  )

  it.live("that may have been started is told with status 6, and not submitted again", () =>
    Effect.gen(function* () {
      const { env, server } = yield* served({ faults: [{ _tag: "ResetAfter", operations: ["run"] }] })
      const { code, stderr, stdout } = yield* run(["run", "ep", `{"a":1}`], { env })
      assert.deepStrictEqual([code, stdout], [6, ""])
      assert.include(stderr, "it is not known whether the job was started")
      assert.lengthOf(yield* server.jobs("ep"), 1)
    }).pipe(Effect.scoped)
  )
})

describe("what is not there", () => {
  it.live("is status 4 for an endpoint and a job, 1 without a network", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      assert.strictEqual((yield* run(["run", "nowhere", `{"a":1}`], { env })).code, 4)
      assert.strictEqual((yield* run(["status", "ep", "nobody"], { env })).code, 4)
      const offline = yield* run(["doctor", "ep", "-o", "json"], {
        env: { ...env, RUNPOD_BASE_URL: "http://127.0.0.1:1/v2" }
      })
      assert.strictEqual(offline.code, 1)
      assert.includeDeepMembers(
        (json(offline.stdout) as Array<{ readonly name: string; readonly result: string }>).map(({ name, result }) => [
          name,
          result
        ]),
        [
          ["key", "ok"],
          ["network", "failed"]
        ]
      )
    }).pipe(Effect.scoped)
  )
})

describe("the doctor", () => {
  it.live("says of the limits what is documented, and what it saw: how many of its requests were refused", () =>
    Effect.gen(function* () {
      const refused = yield* served({
        faults: [{ _tag: "RateLimited", operations: ["health"], times: 1, retryAfter: "1 second" }]
      })
      const quiet = yield* served()
      const limitsOf = (env: Readonly<Record<string, string>>) =>
        Effect.map(run(["doctor", "ep", "-o", "json"], { env }), ({ stdout }) =>
          (json(stdout) as Array<Readonly<Record<string, unknown>>>).find(({ name }) => name === "limits")
        )
      assert.deepInclude(yield* limitsOf(refused.env), { result: "warning", requests: 2, throttled: 1 })
      const limits = yield* limitsOf(quiet.env)
      assert.deepInclude(limits, { result: "ok", requests: 1, throttled: 0 })
      assert.deepNestedInclude(limits, { "documented.run": { limit: 1000, window: 10_000 } })
    }).pipe(Effect.scoped)
  )
})

describe("orphans", () => {
  it.live("are cancelled by a sweep that was confirmed", () =>
    Effect.gen(function* () {
      const { env, server } = yield* served()
      yield* run(["run", "slow", `{"a":1}`, "--detach"], { env })
      const asked = yield* run(["jobs", "sweep", "slow"], { env })
      assert.strictEqual(asked.code, 2)
      assert.include(asked.stderr, "1 jobs")
      const swept = yield* run(["jobs", "sweep", "slow", "--yes", "-o", "jsonl"], { env })
      assert.deepInclude(json(swept.stdout), { cancelled: true })
      assert.strictEqual((yield* server.jobs("slow"))[0]?.status, "CANCELLED")
    }).pipe(Effect.scoped)
  )
})

describe("the emulator", () => {
  it.live("serves what JSON says, with its faults, until a signal", () =>
    Effect.gen(function* () {
      const config = JSON.stringify({
        endpoints: { big: { workers: { max: 2 }, execution: { min: 10, max: "20 millis" } } }
      })
      const faults = JSON.stringify([{ _tag: "ServerError", operations: ["status"], times: 1 }])
      const running = yield* command(
        ["emulator", "start", "other", "--config", "-", "--faults", faults, "-o", "jsonl"],
        { stdin: config }
      )
      const [line] = yield* running.wrote(/^\{.*\}$/m)
      const { endpoints, url } = json(line) as { readonly endpoints: ReadonlyArray<string>; readonly url: string }
      assert.deepStrictEqual(endpoints, ["big", "other"])
      const { code } = yield* run(["run", "big", `{"a":1}`], {
        env: { RUNPOD_BASE_URL: url, RUNPOD_API_KEY: "any-key-at-all" }
      })
      assert.strictEqual(code, 0)
      running.child.kill("SIGINT")
      assert.strictEqual((yield* running.ended).code, 130)

      const wrong = yield* run(["emulator", "start", "--faults", `[{"_tag":"Earthquake"}]`])
      assert.strictEqual(wrong.code, 2)
      assert.include(wrong.stderr, "--faults is not what the emulator takes")
    }).pipe(Effect.scoped)
  )
})

describe("webhooks", () => {
  it.live("are issued, received, verified and forwarded", () =>
    Effect.gen(function* () {
      const { env, server } = yield* served()
      const { stdout: made } = yield* run(["webhooks", "secret"])
      assert.isAbove(made.trim().length, 40)
      const signed = { ...env, RUNPOD_WEBHOOK_SECRET: made.trim() }
      const target = yield* command(["webhooks", "listen", "--path", "/next"], { env: signed })
      const [forward] = yield* target.wrote(/http:\S+/)
      const running = yield* command(["webhooks", "listen", "--forward", forward, "-o", "jsonl"], { env: signed })
      const [url] = yield* running.wrote(/http:\S+/)
      const issued = yield* run(["webhooks", "issue", "ep", "my-key", "--url", url], { env: signed })
      const webhook = issued.stdout.trim()
      yield* run(["run", "ep", `{"a":1}`, "--detach", "--webhook", webhook], { env })
      const [line] = yield* running.wrote(/^\{.*\}$/m)
      assert.deepInclude(json(line), { key: "my-key", endpointId: "ep" })
      // The target refuses what has no token, which is how we know that it was asked.
      yield* running.wrote(/answered 401|answered 403/)
      assert.lengthOf(yield* server.jobs("ep"), 1)

      assert.strictEqual((yield* run(["webhooks", "verify", webhook], { env: signed })).stdout, "valid\n")
      const forged = yield* run(["webhooks", "verify", `${webhook}x`], { env: signed })
      assert.deepStrictEqual([forged.code, forged.stdout], [1, ""])
      assert.strictEqual((yield* run(["webhooks", "verify", webhook], { env })).code, 2)
    }).pipe(Effect.scoped)
  )
})

describe("a recording", () => {
  it.live("is shown, and becomes a test", () =>
    Effect.gen(function* () {
      const { server } = yield* served()
      const file = `${yield* folder}/flight.jsonl`
      const recorded = Flight.layer(file).pipe(Layer.provide(NodeFileSystem.layer))
      yield* Effect.provide(
        Effect.flatMap(RunPod.RunPod, ({ run }) => run("ep", { input: { a: 1 } })),
        Layer.provide(NodeRunPod.layer({ apiKey: "test-key-0123456789", baseUrl: server.url }), recorded)
      )
      const { stdout } = yield* run(["flight", "inspect", file, "-o", "json"])
      assert.deepInclude(json(stdout), { requests: 1, operations: { run: 1 } })
      const test = yield* run(["flight", "to-test", file, "--name", "my flight"])
      assert.include(test.stdout, "my flight")
      assert.strictEqual((yield* run(["flight", "inspect", `${file}.missing`])).code, 2)
    }).pipe(Effect.scoped)
  )
})

describe("a command that records", () => {
  it.live("adds what it sent and got to a file, whose world the emulator makes again", () =>
    Effect.gen(function* () {
      const { env } = yield* served()
      const cwd = yield* folder
      const stdin = [1, 2, 3].map((n) => `{"n":${n}}\n`).join("")
      yield* run(["run", "ep", `{"secret":"x"}`, "--record", "f.jsonl"], { cwd, env })
      const batch = yield* run(["batch", "run", "bad", "-", "--journal", "j.jsonl", "--record", "f.jsonl"], {
        cwd,
        env,
        stdin
      })
      assert.strictEqual(batch.code, 5)
      const { stdout } = yield* run(["flight", "inspect", "f.jsonl", "-o", "json"], { cwd })
      const { outcomes } = json(stdout) as { readonly outcomes: ReadonlyArray<{ readonly ends: unknown }> }
      assert.deepStrictEqual(
        outcomes.map(({ ends }) => ends),
        [["FAILED"], ["FAILED"], ["FAILED"]]
      )
      assert.notInclude(readFileSync(`${cwd}/f.jsonl`, "utf8"), "secret")
      // It belongs to one run, and is not taken up again by a resume.
      assert.notInclude(readFileSync(`${cwd}/j.jsonl.batch.json`, "utf8"), "f.jsonl")

      const running = yield* command(["emulator", "start", "--flight", "f.jsonl"], { cwd })
      const [url] = yield* running.wrote(/^http:\S+/)
      const replayed = yield* run(["run", "e1", `{"n":1}`], { env: { ...env, RUNPOD_BASE_URL: url } })
      assert.strictEqual(replayed.code, 5)
    }).pipe(Effect.scoped)
  )
})

describe("completions", () => {
  for (const shell of ["bash", "fish", "zsh"]) {
    it.live(`know the commands, in ${shell}`, () =>
      Effect.gen(function* () {
        const { code, stdout } = yield* run(["completions", shell])
        assert.strictEqual(code, 0)
        assert.include(stdout, "emulator")
        const json = yield* run(["completions", shell, "-o", "json"])
        assert.deepStrictEqual(JSON.parse(json.stdout), { shell, script: stdout.trimEnd() })
      })
    )
  }
})
