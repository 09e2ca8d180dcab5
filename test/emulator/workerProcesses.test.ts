import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Schema, Stream } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import type * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import { program } from "../support/program.js"

const endpoint = Endpoint.make("e", {
  input: Schema.Record({ key: Schema.String, value: Schema.Unknown }),
  output: Schema.Unknown,
  chunk: Schema.Unknown,
  progress: Schema.Unknown
})

const serve = (options: Emulator.EndpointOptions = {}) =>
  NodeEmulator.serve({ apiKey: "key", endpoints: { e: { externalWorkers: true, ...options }, ordinary: {} } })

/** A worker in a process of its own, and what it writes. */
const start = (server: NodeEmulator.Server, ...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const environment = yield* server.workerEnvironment("e")
    const output: Array<string> = []
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [program("workerProcess"), ...args], {
          env: { ...process.env, ...environment },
          stdio: ["ignore", "pipe", "inherit"]
        })
      ),
      kill
    )
    child.stdout.setEncoding("utf8").on("data", (text: string) => output.push(text))
    return { child, output, workerId: environment["RUNPOD_POD_ID"] ?? "" }
  })

const kill = (child: ChildProcess): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

const client = ({ url }: NodeEmulator.Server) => Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl: url }))

/** Waits in real time, as the processes live in it. */
const until = (condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.asVoid(Effect.repeat(Effect.zipRight(Effect.sleep("20 millis"), condition), { until: (holds) => holds }))

const jobs = (server: NodeEmulator.Server) => server.jobs("e")

describe.concurrent("workers in processes of their own", () => {
  it.scopedLive("serve every job once, between them", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      const workers = [yield* start(server), yield* start(server, "handler", "4")]
      const numbers = Array.from({ length: 40 }, (_, n) => n)
      const outputs = yield* endpoint.pipe(
        Effect.flatMap((e) => Effect.forEach(numbers, (n) => e.call({ n, millis: 20 }), { concurrency: "unbounded" })),
        client(server)
      )
      assert.deepStrictEqual(
        outputs.map((output) => Reflect.get(Object(output), "n")),
        numbers
      )
      const ended = yield* jobs(server)
      assert.isTrue(
        ended.every(({ retries, starts, status }) => status === "COMPLETED" && starts === 1 && retries === 0)
      )
      assert.sameMembers(
        [...new Set(ended.map(({ workerId }) => workerId))],
        workers.map(({ workerId }) => workerId)
      )
    })
  )

  it.scopedLive("report failures and progress", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      const { workerId } = yield* start(server)
      yield* Effect.gen(function* () {
        const e = yield* endpoint
        const error = yield* Effect.flip(e.call({ fail: "no dogs here" }))
        assert(error._tag === "JobFailedError")
        assert.deepInclude(error, { detail: "no dogs here", workerId })
        const job = yield* e.run({ n: 1, progress: [25, 50], millis: 300 })
        const seen: Array<unknown> = []
        const look = Effect.map(jobs(server), (all) => {
          const last = all.at(-1)
          if (last?.output !== undefined && !seen.includes(last.output)) seen.push(last.output)
          return last?.status === "COMPLETED"
        })
        yield* until(look)
        assert.deepStrictEqual(seen, [25, 50, { n: 1, workerId }])
        assert.deepStrictEqual(yield* job.result(), { n: 1, workerId })
      }).pipe(client(server))
    })
  )

  it.scopedLive("stream chunks, all of which are the output", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      yield* start(server, "generator")
      yield* Effect.gen(function* () {
        const e = yield* endpoint
        const chunks = ["a", { b: 1 }, null, [2]]
        const streamed = yield* Stream.runCollect(e.callStream({ chunks, millis: 30 }))
        assert.deepStrictEqual(Chunk.toReadonlyArray(streamed), chunks)
        assert.deepStrictEqual(yield* e.call({ chunks }), chunks)
      }).pipe(client(server))
    })
  )

  it.scopedLive("stop a job that was cancelled, and take the next", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      const { output } = yield* start(server)
      yield* Effect.gen(function* () {
        const e = yield* endpoint
        const job = yield* e.run({ millis: 60_000 })
        yield* until(Effect.map(jobs(server), ([first]) => first?.status === "IN_PROGRESS"))
        yield* job.cancel
        assert.deepInclude(yield* e.call({ n: 2 }), { n: 2 })
        yield* until(Effect.sync(() => output.join("").includes(`stopped ${job.id}`)))
      }).pipe(client(server))
    })
  )

  it.scopedLive("that are killed lose their job to another", () =>
    Effect.gen(function* () {
      const server = yield* serve({ externalWorkers: { pingInterval: "1 second", lostAfter: "3 seconds" }, workers: 2 })
      const first = yield* start(server)
      yield* Effect.gen(function* () {
        const e = yield* endpoint
        // Longer than a job that is not heard of stays with its worker: the pings keep it.
        const job = yield* e.run({ n: 1, millis: 3_500 })
        yield* until(Effect.map(jobs(server), (all) => all[0]?.status === "IN_PROGRESS"))
        yield* kill(first.child)
        const second = yield* start(server)
        assert.deepStrictEqual(yield* job.result(), { n: 1, workerId: second.workerId })
        assert.deepInclude((yield* jobs(server))[0], { retries: 1, starts: 2 })
      }).pipe(client(server))
    })
  )

  it.scopedLive("have a key of their own, and URLs that a container reaches", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      const own = yield* server.workerEnvironment("e", { workerId: "w1", url: "http://host.docker.internal:8000/v2/" })
      assert.deepInclude(own, {
        RUNPOD_POD_ID: "w1",
        RUNPOD_ENDPOINT_ID: "e",
        RUNPOD_WEBHOOK_GET_JOB: "http://host.docker.internal:8000/v2/e/job-take/$ID?gpu=none",
        RUNPOD_PING_INTERVAL: "10000"
      })
      assert.notInclude(JSON.stringify(own), `"key"`)
      const other = yield* server.workerEnvironment("e")
      assert.notStrictEqual(other["RUNPOD_POD_ID"], own["RUNPOD_POD_ID"])
      assert.isTrue(other["RUNPOD_WEBHOOK_PING"]?.startsWith(`${server.url}/e/ping/`))
      const exit = yield* Effect.exit(server.workerEnvironment("ordinary"))
      assert.include(String(exit), `no endpoint \\"ordinary\\" with externalWorkers`)
    })
  )
})
