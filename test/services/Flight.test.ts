import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { SystemError } from "@effect/platform/Error"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Emulator from "../../src/emulator/Emulator.js"
import { FlightRecorder } from "../../src/layers/FlightRecorder.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Flight from "../../src/services/Flight.js"
import * as RunPod from "../../src/services/RunPod.js"
import * as Webhooks from "../../src/services/Webhooks.js"
import { finish } from "../support/finish.js"
import { lineEnds } from "../support/journalCuts.js"
import * as Scripted from "../support/scripted.js"
import * as Secrets from "../support/secrets.js"

const withFile = <A, E>(use: (file: string, fs: FileSystem) => Effect.Effect<A, E, FileSystem | Scope.Scope>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem
    return yield* use(`${yield* fs.makeTempDirectoryScoped()}/flight.jsonl`, fs)
  }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))

const quick: Emulator.RunPodOptions = { endpoints: { ep: { workers: 20 } }, client: { limits: RateLimits.unlimited } }

/** Runs a batch on jobs that end at once, and records it. */
const fly = (file: string, options: Flight.Options = {}, items = 3) =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })
    const inputs = Array.from({ length: items }, (_, n) => ({ n }))
    const report = yield* Batch.collect(endpoint, inputs)
    return report.results.length
  }).pipe(Effect.provide(Layer.provide(Emulator.layerRunPod(quick), Flight.layer(file, options))))

/** Where a needle would show in base64: three ways by its place, without the signs that its neighbours share. */
const inBase64 = (needle: string): ReadonlyArray<string> =>
  [0, 1, 2].map((shift) => {
    const text = Buffer.from("\0".repeat(shift) + needle).toString("base64")
    return text.slice(Math.ceil((shift * 8) / 6), Math.floor(((needle.length + shift) * 8) / 6))
  })

const assertHoldsNone = (text: string, needles: ReadonlyArray<string>) => {
  for (const needle of needles) {
    const forms = [needle, ...inBase64(needle), Buffer.from(needle).toString("hex"), encodeURIComponent(needle)]
    for (const form of forms) assert.notInclude(text.toLowerCase(), form.toLowerCase(), `${needle} as ${form}`)
  }
}

describe("a flight in a file", () => {
  it.live("holds attempts in the order they were sent, with their times, statuses and renumbered ids", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* fly(file), 3)
        const { attempts, lost, mode } = yield* Flight.read(file)
        assert.deepStrictEqual([mode, lost], ["shape", 0])
        assert.deepStrictEqual(
          attempts.map(({ order }) => order),
          attempts.map((_, i) => i + 1)
        )
        const [first] = attempts
        assert(first?.end._tag === "Answer" && first.sent >= first.queued && first.ended >= first.sent)
        assert.deepInclude(first, { operation: "run", endpoint: "e1", job: "j1", attempt: 1 })
        assert.deepStrictEqual(first.submit, { input: "i1", value: { shape: { object: ["number"] } } })
        assert.deepInclude(first.end, { status: 200, body: "Json", job: { status: "IN_QUEUE" } })
        assert.deepStrictEqual(
          Flight.outcomes(yield* Flight.read(file)),
          ["i1", "i2", "i3"].map((input) => ({ endpoint: "e1", input, ends: ["COMPLETED"] }))
        )
        assert.isFalse(yield* fs.exists(`${file}.lock`))
      })
    )
  )

  it.live("is read up to its last whole record, wherever a crash cut it, and goes on with one more recording", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        yield* fly(file)
        const bytes = yield* fs.readFile(file)
        const ends = lineEnds(bytes)
        const cuts = [ends[1] ?? 0, (ends[1] ?? 0) + 1, (ends[3] ?? 0) - 1, ends[3] ?? 0, bytes.length - 1]
        for (const cut of cuts) {
          yield* fs.writeFile(file, bytes.subarray(0, cut))
          const whole = ends.filter((end) => end <= cut).length
          // The header and the start of the recording are no attempts.
          assert.lengthOf((yield* Flight.read(file)).attempts, whole - 2)
        }
        yield* fly(file, { mode: "hash" }, 1)
        const recordings = yield* Flight.readAll(file)
        assert.deepStrictEqual(
          recordings.map(({ mode }) => mode),
          ["shape", "hash"]
        )
        assert.strictEqual((yield* Flight.read(file)).attempts[0]?.job, "j1")
      })
    )
  )

  it.live("writes a test of itself, which examples/testing runs", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem
      const options = { endpoints: ["captioner"], recordedAt: "examples/testing/flight.jsonl" }
      const written = yield* fs.readFileString("examples/testing/flight.test.ts")
      assert.strictEqual(yield* Flight.toTest("examples/testing/flight.jsonl", options), written)

      const program = { module: "./caption.js", name: "captionAll" }
      const own = yield* Flight.toTest("examples/testing/flight.jsonl", { program, name: "captions" })
      assert.include(own, `import { captionAll as program } from "./caption.js"`)
      assert.include(own, `it.effect("captions"`)
      assert.notInclude(own, "Batch")
    }).pipe(Effect.provide(NodeFileSystem.layer))
  )

  it.live("says why it cannot be read", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* Effect.flip(Flight.read(file))).reason, "Empty")
        yield* fs.writeFileString(file, "notes\n")
        assert.strictEqual((yield* Effect.flip(Flight.read(file))).reason, "Corrupt")
        yield* fs.remove(file)
        yield* fly(file)
        const text = yield* fs.readFileString(file)
        yield* fs.writeFileString(file, text.replace('"shape"', '"shapo"'))
        const error = yield* Effect.flip(Flight.read(file))
        assert.deepStrictEqual([error.reason, error.line], ["Corrupt", 2])
        assert.include(error.message, file)
      })
    )
  )

  it.live("stops at the first error of the disk, which it logs once, and no request knows of it", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        const logs: Array<unknown> = []
        const logger = Logger.make(({ logLevel, message }) => {
          if (logLevel.label === "WARN") logs.push(message)
        })
        const full = new SystemError({ reason: "WriteZero", module: "FileSystem", method: "write" })
        let writes = 0
        const failing: FileSystem = {
          ...fs,
          open: (path, options) =>
            Effect.map(fs.open(path, options), (handle) =>
              Object.create(handle, {
                writeAll: {
                  value: (bytes: Uint8Array) => (++writes > 2 ? Effect.fail(full) : handle.writeAll(bytes))
                }
              })
            )
        }
        const flown = fly(file).pipe(
          Effect.provideService(FileSystem, failing),
          Effect.provide(Logger.replace(Logger.defaultLogger, logger))
        )
        assert.strictEqual(yield* flown, 3)
        assert.lengthOf(logs.flat(), 1)
        assert.include(String(logs.flat()[0]), "The recording of the flight has stopped")
      })
    )
  )

  it.live("holds nothing of keys, credentials, webhooks, ids, inputs, outputs, errors and answers", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        const canary = { endpoint: "EpQzJwVk", input: "InKxWvQz", output: "OuPwZqXj", error: "ErVwJqKz" }
        const world: Emulator.RunPodOptions = {
          apiKey: Secrets.key,
          endpoints: {
            [canary.endpoint]: {
              handler: (input, { progress }) => {
                const said = { ...input, [canary.output]: [canary.output, input] }
                const failed = Effect.fail(new Error(`${canary.error} ${Secrets.all}`))
                if (input["how"] === "fail") return failed
                if (input["how"] === "stream") return Stream.make(said, canary.output)
                return Effect.as(progress(said), said)
              }
            }
          },
          client: { limits: RateLimits.unlimited }
        }
        const ids = yield* Effect.gen(function* () {
          const runPod = yield* RunPod.RunPod
          const emulator = yield* Emulator.Emulator
          for (const how of ["fail", "stream", "end"]) {
            const input = { how, [canary.input]: [canary.input], secrets: Secrets.all }
            const request = { input, s3Config: Secrets.s3Config, webhook: Secrets.webhook }
            const job = yield* runPod.run(canary.endpoint, request)
            yield* Stream.runDrain(runPod.stream(canary.endpoint, job.id))
            yield* runPod.status(canary.endpoint, job.id)
            yield* runPod.runSync(canary.endpoint, request)
            yield* Effect.ignore(runPod.retry(canary.endpoint, job.id))
            yield* runPod.cancel(canary.endpoint, job.id)
          }
          yield* runPod.requests(canary.endpoint)
          yield* runPod.health(canary.endpoint)
          const jobs = yield* emulator.jobs(canary.endpoint)
          return jobs.flatMap(({ id, workerId }) => [id, ...(workerId === undefined ? [] : [workerId])])
        }).pipe(Effect.provide(Layer.provide(Emulator.layerRunPod(world), Flight.layer(file, { keys: ["how"] }))))

        // A server that echoes all it knows, in every form.
        const answers = Object.values(Secrets.shapes).flatMap((shape) =>
          [200, 400, 503].map((status) => (asked: Scripted.Asked) => ({ status, body: shape(Secrets.dump(asked)) }))
        )
        let asked = 0
        const headers = { "retry-after": Secrets.key }
        const transport = Scripted.make((request) => {
          const answer = answers[asked++ % answers.length]?.(request)
          return answer === undefined ? "reset" : { ...answer, headers }
        })
        const echoes = transport.layer({
          apiKey: Redacted.make(Secrets.key),
          retry: RetryPolicy.make({ maxAttempts: 1 }),
          limits: RateLimits.unlimited
        })
        yield* Effect.gen(function* () {
          const runPod = yield* RunPod.RunPod
          const request = {
            input: { [canary.input]: Secrets.all },
            s3Config: Secrets.s3Config,
            webhook: Secrets.webhook
          }
          for (const _ of answers) {
            yield* Effect.ignore(runPod.run(canary.endpoint, request))
            yield* Effect.ignore(runPod.status(canary.endpoint, canary.output))
          }
        }).pipe(Effect.provide(Layer.provide(echoes, Flight.layer(file))))

        const text = yield* fs.readFileString(file)
        assert.isAbove(ids.length, 6)
        assert.isAbove(text.length, 10_000)
        assertHoldsNone(text, [...Secrets.needles, ...Object.values(canary), ...ids, "hooks.test", "rpa_"])
        // The names that were asked for are all there is.
        assert.include(text, `"named":{"how":{"string":4}}`)
      })
    )
  )
})

describe("a recorder", () => {
  /** Runs an effect on an endpoint of the emulator that echoes, and gives its recording. */
  const record = <A, E>(
    effect: Effect.Effect<A, E, RunPod.RunPod>,
    options: Pick<Flight.Options, "mode" | "keys"> = {},
    world: Emulator.RunPodOptions = quick
  ) =>
    Effect.gen(function* () {
      const { layer, recording } = yield* Flight.inMemory(options)
      yield* Effect.ignore(Effect.provide(effect, Layer.provide(Emulator.layerRunPod(world), layer)))
      return yield* recording
    }).pipe((flight) => finish(flight, "1 hour"))

  const input = { name: "Ada", list: [1, true, null, { secret: "x" }], deep: Array.from({ length: 40 }, () => "z") }
  const runOnce = Effect.flatMap(RunPod.RunPod, (runPod) => runPod.runSync("ep", { input }))

  it.live("tells the shape of values, their digest, or the values, as its mode says", () =>
    Effect.gen(function* () {
      const valueOf = ({ attempts: [first] }: Flight.Recording) => {
        assert(first?.end._tag === "Answer")
        assert.deepStrictEqual(first.end.job?.output, first.submit?.value)
        return first.submit?.value
      }
      const list = { array: ["number", "boolean", "null", { object: [{ string: 1 }] }] }
      const deep = { array: Array.from({ length: 32 }, () => ({ string: 1 })), more: 8 }
      const shape = { object: [{ string: 3 }, list, deep] }
      assert.deepStrictEqual(valueOf(yield* record(runOnce)), { shape } as never)
      const named = valueOf(yield* record(runOnce, { keys: ["name", "none"] }))
      assert.deepStrictEqual(named, { shape: { object: [list, deep], named: { name: { string: 3 } } } } as never)
      const hashed = valueOf(yield* record(runOnce, { mode: "hash" }))
      assert(hashed !== undefined && "hash" in hashed && hashed.hash?.length === 64)
      assert.deepStrictEqual(valueOf(yield* record(runOnce, { mode: "keep" })), { value: input })
    })
  )

  it.live("keeps values without the key and the secrets of their request", () =>
    Effect.gen(function* () {
      const secrets = { apiKey: "rpa_kept-secret", webhook: "https://hooks.test/?token=kept-token" }
      const request = { input: { echo: `${secrets.apiKey} ${secrets.webhook}` }, webhook: secrets.webhook }
      const run = Effect.flatMap(RunPod.RunPod, (runPod) => runPod.runSync("ep", request))
      const recording = yield* record(run, { mode: "keep" }, { ...quick, apiKey: secrets.apiKey })
      assert.include(JSON.stringify(recording), `"value":{"echo":`)
      assertHoldsNone(JSON.stringify(recording), ["kept-secret", "kept-token"])
    })
  )

  it.live("tells how long an attempt waited for the limiter, and which were given up", () =>
    Effect.gen(function* () {
      const limits = RateLimits.make({ status: { limit: 1, window: "10 seconds" } })
      const program = Effect.gen(function* () {
        const runPod = yield* RunPod.RunPod
        const { id } = yield* runPod.run("ep", { input })
        yield* runPod.status("ep", id)
        yield* runPod.status("ep", id)
        const held = yield* Effect.either(RunPod.withDeadline(runPod.statusSync("ep", id), "3 seconds"))
        assert.strictEqual(held._tag, "Left")
      })
      const world: Emulator.RunPodOptions = {
        endpoints: { ep: { execution: "1 hour" } },
        client: { limits }
      }
      const { attempts } = yield* record(program, {}, world)
      const [, first, second, held] = attempts
      assert.deepStrictEqual([first?.queued, first?.sent], [0, 0])
      assert.deepStrictEqual([second?.queued, second?.sent], [0, 10_000])
      assert.deepInclude(held, { operation: "statusSync", held: true, sent: 10_000, ended: 13_000 })
      assert.deepStrictEqual(held?.end, { _tag: "GivenUp" })
    })
  )

  it.live("tells of deliveries to webhooks, and to which submit they belong", () =>
    Effect.gen(function* () {
      const { layer, recording } = yield* Flight.inMemory()
      const hooks = Webhooks.layer({ secret: "a-secret-of-32-characters-for-tests", url: "https://app.example/hooks" })
      const world = Emulator.layerRunPod({ endpoints: { ep: { execution: "20 seconds" } } })
      const call = Effect.gen(function* () {
        const endpoint = yield* Endpoint.make("ep", { input: Schema.Unknown, output: Schema.Unknown })
        yield* endpoint.call({ n: 1 }, { webhook: true })
        const webhooks = yield* Webhooks.Webhooks
        yield* Effect.ignore(webhooks.receive({ url: "https://app.example/hooks", headers: {}, body: "{}" }))
      })
      yield* Effect.provide(call, Layer.provide(Layer.provideMerge(world, hooks), layer))
      const { attempts, deliveries } = yield* recording
      assert.strictEqual(attempts[0]?.submit?.webhook, "h1")
      assert.deepInclude(deliveries[0], { at: 20_000, endpoint: "e1", job: "j1", webhook: "h1", duplicate: false })
      assert.strictEqual(deliveries[0]?.reading?.status, "COMPLETED")
      assert.deepStrictEqual(deliveries.slice(1), [{ _tag: "Delivery", at: 20_000, error: "WebhookTokenMissingError" }])
    }).pipe((flight) => finish(flight, "1 hour"))
  )

  it.live("of a program's own is told the same", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const own = Layer.succeed(FlightRecorder, {
        onAttempt: ({ attempt, request }) => {
          told.push(`${request.operation.name} ${attempt}`)
          return (end) => void told.push(end._tag === "Answer" ? String(end.status) : end._tag)
        },
        onDelivery: () => {}
      })
      const world = { ...quick, faults: [Emulator.Fault.rateLimited({ times: 1 })] }
      yield* Effect.provide(runOnce, Layer.provide(Emulator.layerRunPod(world), own))
      assert.deepStrictEqual(told, ["runSync 1", "429", "runSync 2", "200"])
    }).pipe((flight) => finish(flight, "1 hour"))
  )
})
