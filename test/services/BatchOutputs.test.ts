/** What jobs return, through a journal and back: any JSON, and what a parser of one's own makes of it. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Batch from "../../src/services/Batch.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import { json as anyJson } from "../support/arbitraries.js"
import { finish } from "../support/finish.js"
import { kindOf, type Numbered } from "../support/batches.js"
import * as Scripted from "../support/scripted.js"

const s3Config = {
  accessId: "access-id-12345",
  accessSecret: Redacted.make("s3-secret-12345"),
  bucketName: "bucket",
  endpointUrl: "https://s3.test"
}
const webhook = "https://hooks.test/path-segment-123?token=webhook-token-123"
const echoed = JSON.stringify({ webhook, s3Config: { ...s3Config, accessSecret: "s3-secret-12345" } }).slice(1, -1)

/** RunPod with a job for each of these results, which are texts of JSON, and echoes of what was submitted. */
const server = (results: ReadonlyArray<string>) =>
  Scripted.make(({ body, url }) => {
    const id = /job-(\d+)/.exec(url)?.[1]
    if (id !== undefined) return { status: 200, body: `{"id":"job-${id}",${results[Number(id)]},${echoed}}` }
    const { input } = JSON.parse(body ?? "") as { readonly input: Numbered }
    return Scripted.json({ id: `job-${input.n}`, status: "IN_QUEUE" })
  })

const completed = (output: string) => `"status":"COMPLETED","delayTime":1,"output":${output}`

/** Runs a batch over all results, with the journal in a file. */
const run = (
  rp: ReturnType<typeof server>,
  count: number,
  { file, parseJson }: { readonly file: string; readonly parseJson?: (text: string) => unknown }
) =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make("ep", {
      input: Schema.Struct({ n: Schema.Number }),
      output: Schema.Unknown
    })
    const journal = yield* BatchJournal.file(file, { sync: "never" })
    const inputs = Array.from({ length: count }, (_, n) => ({ n }))
    return yield* Batch.collect(endpoint, inputs, { journal, s3Config, webhook })
  }).pipe(Effect.scoped, Effect.provide(rp.layer({ limits: RateLimits.unlimited, parseJson })))

const withFile = <A, E>(use: (file: string, fs: FileSystem) => Effect.Effect<A, E, FileSystem>) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem
    return yield* use(`${yield* fs.makeTempDirectoryScoped()}/journal.jsonl`, fs)
  }).pipe(
    Effect.scoped,
    Effect.provide(NodeFileSystem.layer),
    // Runs that go on say so.
    Logger.withMinimumLogLevel(LogLevel.Warning)
  )

const outputs = ({ results }: Batch.Report<Numbered, unknown>) =>
  results.map(({ result }) => (Exit.isSuccess(result) ? result.value : assert.fail("no output")))

const errorsOf = ({ results }: Batch.Report<Numbered, unknown>) =>
  results.flatMap(({ result }) => (Exit.isFailure(result) ? Option.toArray(Cause.failureOption(result.cause)) : []))

/** Texts that redaction would change. */
const tempting = FastCheck.constantFrom(
  "https://bucket.s3.amazonaws.com/a.png?X-Amz-Credential=access-id-12345%2Fus&X-Amz-Signature=0f",
  webhook,
  "see path-segment-123",
  `the field "webhook": "https://example.org/x" and "s3Config": {"accessId": "a"}`,
  JSON.stringify({ webhook: "https://example.org", accessSecret: "x" }),
  "the secret s3-secret-12345, and test-key",
  "half a pair \ud800, \u2028 and \u0000"
)

describe("an output in a journal", () => {
  it.live("is what the job returned, at first and replayed, whatever is in it", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        const values = [
          ...FastCheck.sample(anyJson, 60),
          ...FastCheck.sample(FastCheck.tuple(tempting, FastCheck.dictionary(tempting, tempting)), 30),
          { webhook, accessSecret: "s3-secret-12345" },
          false,
          0,
          ""
        ].filter((value) => value !== null)
        const rp = server(values.map((value) => completed(JSON.stringify(value))))
        const expected: unknown = JSON.parse(JSON.stringify(values))
        const first = yield* run(rp, values.length, { file })
        assert.deepStrictEqual(outputs(first), expected)
        const asked = rp.asked.length
        const second = yield* run(rp, values.length, { file })
        assert.strictEqual(second.replayed, values.length)
        assert.strictEqual(rp.asked.length, asked)
        assert.deepStrictEqual(outputs(second), expected)
        // Byte for byte in the file.
        const text = yield* fs.readFileString(file)
        for (const value of values) {
          const written = JSON.stringify(JSON.parse(JSON.stringify(value)))
          if (!/\{"\$|-0|\d{17}/.test(written)) assert.include(text, `"output":${written}`)
        }
      })
    )
  )

  it.live("is the only place where a secret of the submit can stand", () =>
    withFile((file, fs) =>
      Effect.gen(function* () {
        const failed = `"status":"FAILED","error":"s3-secret-12345 at ${webhook} with access-id-12345 and test-key"`
        yield* run(server([completed(`{"a":1}`), failed]), 2, { file })
        const text = yield* fs.readFileString(file)
        for (const secret of ["s3-secret", "access-id", "webhook-token", "path-segment", "hooks.test", "test-key"]) {
          assert.notInclude(text, secret)
        }
      })
    )
  )

  it.live("of a job that failed: the error is the same, at first and replayed", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const values = [...FastCheck.sample(tempting, 20), ...FastCheck.sample(anyJson, 20)]
        const results = values.map((value, i) => {
          const text = JSON.stringify(value)
          return `"status":"${i % 5 === 0 ? "TIMED_OUT" : "FAILED"}","error":${text},"output":${text}`
        })
        const rp = server(results)
        const [first, second] = [yield* run(rp, results.length, { file }), yield* run(rp, results.length, { file })]
        assert.strictEqual(second.replayed, results.length)
        assert.deepStrictEqual(
          errorsOf(second).map((error) => ({ ...error, message: error.message })),
          errorsOf(first).map((error) => ({ ...error, message: error.message }))
        )
        for (const error of errorsOf(second)) {
          for (const secret of ["s3-secret-12345", "webhook-token-123", "access-id-12345"]) {
            assert.notInclude(JSON.stringify(error), secret)
          }
        }
      })
    )
  )
})

const depth = 100_000
const nested = (leaf: string) => `${"[".repeat(depth)}${leaf}${"]".repeat(depth)}`

const bottom = (value: unknown): unknown => {
  let at = value
  while (Array.isArray(at)) at = at[0]
  return at
}

class Decimal {
  constructor(readonly digits: string) {}
}

/** Makes of some texts what JSON does not have. */
const parseJson = (text: string): unknown =>
  JSON.parse(text, (_, value: unknown) => {
    const circle: Array<unknown> = []
    circle.push(circle)
    if (value === "@circle") return circle
    if (value === "@bigint") return 2n ** 64n + 1n
    if (value === "@date") return new Date(86_400_000)
    if (value === "@function") return () => 1
    if (value === "@decimal") return new Decimal("1.50")
    return value === "@nan" ? NaN : value
  })

describe("an output that JSON.stringify cannot write", () => {
  it.live("is stored and comes back: nested 100,000 deep, with strange keys, halves of pairs and numbers", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const odd = `{"__proto__":{"a":[{"$bigint":"7"},{"$$x":0}]},"toJSON":1,"\\ud800":"\\udfff","n":[-0,1e999,-1e999]}`
        const texts = [nested(`"x"`), `{"a":1}`, nested(`{"__proto__":1}`), odd]
        const rp = server(texts.map(completed))
        const first = outputs(yield* run(rp, 4, { file }))
        const report = yield* run(rp, 4, { file })
        const second = outputs(report)
        assert.strictEqual(report.replayed, 4)
        for (const all of [first, second]) {
          assert.strictEqual(bottom(all[0]), "x")
          assert.deepStrictEqual(all[1], { a: 1 })
          assert.strictEqual(JSON.stringify(bottom(all[2])), `{"__proto__":1}`)
          assert.deepStrictEqual(all[3], JSON.parse(odd))
        }
      })
    )
  )

  it.live("is stored and comes back: BigInts, dates and NaN of a parser of one's own", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const texts = [`{"seed":"@bigint"}`, `["@date","@nan"]`, `"@bigint"`]
        const rp = server(texts.map(completed))
        const expected = [{ seed: 18446744073709551617n }, [new Date(86_400_000), NaN], 18446744073709551617n]
        assert.deepStrictEqual(outputs(yield* run(rp, 3, { file, parseJson })), expected)
        const report = yield* run(rp, 3, { file, parseJson })
        assert.strictEqual(report.replayed, 3)
        assert.deepStrictEqual(outputs(report), expected)
      })
    )
  )

  it.live("and is no plain data is an error of its item, which a later run can mend", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const texts = [`{"a":"@function"}`, `1`, `["@decimal"]`, `"@circle"`]
        const failed = `"status":"FAILED","error":"out of memory","output":["@circle"]`
        const rp = server([...texts.map(completed), failed])
        const first = yield* run(rp, 5, { file, parseJson })
        assert.deepStrictEqual(first.results.map(kindOf), [
          "OutputDecodeError",
          "Completed",
          "OutputDecodeError",
          "OutputDecodeError",
          "JobFailedError"
        ])
        const why = ["a function is in it", "an instance of Decimal is in it", "it contains itself"]
        for (const [i, error] of errorsOf(first).slice(0, 3).entries()) {
          assert(error._tag === "OutputDecodeError")
          assert.isTrue(error.isUnstorable)
          assert.include(error.message, why[i] ?? "")
          assert.include(error.message, "journal cannot hold")
        }
        const second = yield* run(rp, 5, { file })
        assert.deepStrictEqual(second.results.map(kindOf), [...Array<string>(4).fill("Completed"), "JobFailedError"])
        assert.strictEqual(second.replayed, 1)
        assert.strictEqual(rp.asked.filter(({ method }) => method === "POST").length, 5)
        assert.strictEqual((yield* run(rp, 5, { file })).replayed, 5)
      })
    )
  )

  it.live("because it is too long is an error of that entry alone", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const settled = { _tag: "Settled", hash: "h", at: 1, jobId: "j", attempts: 1, status: "COMPLETED" } as const
        yield* Effect.scoped(
          Effect.gen(function* () {
            const journal = yield* BatchJournal.file(file)
            const output = Array.from({ length: 600 }, () => "x".repeat(2 ** 20))
            const error = yield* Effect.flip(journal.append({ ...settled, key: "long", output }))
            assert.deepInclude({ ...error }, { reason: "Unstorable", key: "long", file })
            assert.include(error.message, "too long")
            yield* journal.append({ ...settled, key: "short", output: "x" })
          })
        )
        const journal = yield* BatchJournal.file(file)
        assert.isTrue(Option.isNone(yield* journal.find("long")))
        assert.isTrue(Option.isSome(yield* journal.outcome("short")))
      }).pipe(Effect.scoped)
    )
  )

  it.live("an entry that could not be read again is refused, too", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const journal = yield* BatchJournal.file(file)
        const entry = { _tag: "Submitted", key: "k", hash: "h", at: NaN, jobId: "j", attempts: 1 } as const
        assert.strictEqual((yield* Effect.flip(journal.append(entry))).reason, "Unstorable")
        assert.isTrue(Option.isNone(yield* journal.find("k")))
      }).pipe(Effect.scoped)
    )
  )

  it.effect("is seen to change while it is the progress of a job", () =>
    Effect.gen(function* () {
      const bodies = [nested("1"), nested("2"), nested("2"), `{"n":"@bigint"}`].map(
        (output) => `{"id":"job-1","status":"IN_PROGRESS","output":${output}}`
      )
      // A reviver recurses, and would overflow the stack.
      const ofBigInts = (text: string) => (text.includes("@bigint") ? parseJson(text) : (JSON.parse(text) as unknown))
      const rp = Scripted.make([...bodies, `{"id":"job-1",${completed("1")}}`].map((body) => ({ status: 200, body })))
      const seen = yield* finish(
        Stream.runCollect(Jobs.watch("ep", "job-1")).pipe(Effect.provide(rp.layer({ parseJson: ofBigInts })))
      )
      assert.deepStrictEqual(
        Array.from(seen, ({ output, status }) => [status, typeof output === "object" ? bottom(output) : output]),
        [
          ["IN_PROGRESS", 1],
          ["IN_PROGRESS", 2],
          ["IN_PROGRESS", { n: 18446744073709551617n }],
          ["COMPLETED", 1]
        ]
      )
    })
  )
})

describe("an answer that `parseJson` refuses", () => {
  const secret = "@refused"
  const refusing = (text: string): unknown => {
    if (text.includes(secret)) throw new SyntaxError("no @ here")
    return JSON.parse(text)
  }
  const options = { limits: RateLimits.unlimited, parseJson: refusing }
  const endpoint = Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown })

  /** Calls the endpoint; the polls of its job get these bodies, one after the other. */
  const call = (bodies: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const rp = Scripted.make([`{"id":"job-1","status":"IN_QUEUE"}`, ...bodies].map((body) => ({ status: 200, body })))
      const called = Effect.flatMap(endpoint, (ep) => Effect.either(ep.call({ n: 1 })))
      return { rp, end: yield* finish(Effect.provide(called, rp.layer(options)), "5 minutes") }
    })

  it.effect("ends the wait for a job that has ended, which is not cancelled", () =>
    Effect.gen(function* () {
      const { end, rp } = yield* call([`{"id":"job-1",${completed(`"${secret}"`)}}`])
      assert(end._tag === "Left" && end.left._tag === "DecodeError")
      assert.deepInclude({ ...end.left }, { jobId: "job-1", jobStatus: "COMPLETED", isUnread: true })
      assert.strictEqual(end.left.issue, "SyntaxError: no @ here")
      assert.include(end.left.body, secret)
      assert.strictEqual(rp.asked.length, 2)
    })
  )

  it.effect("is polled through where it names another job", () =>
    Effect.gen(function* () {
      const other = `{"id":"job-2",${completed(`"${secret}"`)}}`
      const { end } = yield* call([other, `{"id":"job-1",${completed(`"mine"`)}}`])
      assert(end._tag === "Right")
      assert.strictEqual(end.right, "mine")
    })
  )

  it.effect("is polled through while the job runs, and so is one that was cut", () =>
    Effect.gen(function* () {
      const whole = `{"id":"job-1",${completed("1")}}`
      const { end, rp } = yield* call([
        `{"id":"job-1","status":"IN_PROGRESS","output":"${secret}"}`,
        `{"id":"job-1",${completed(`"${secret}`)}`,
        whole
      ])
      assert.deepStrictEqual(end, Either.right(1))
      assert.strictEqual(rp.asked.length, 4)
    })
  )

  it.live("is the error of its item, of which a later run with another parser reads the output", () =>
    withFile((file) =>
      Effect.gen(function* () {
        const rp = server([completed("0"), completed(`"${secret}"`), completed("2")])
        const first = yield* run(rp, 3, { file, parseJson: refusing })
        assert.deepStrictEqual(first.results.map(kindOf), ["Completed", "DecodeError", "Completed"])
        assert.strictEqual(first.results[1]?.jobId, "job-1")
        assert.deepStrictEqual(outputs(yield* run(rp, 3, { file })), [0, secret, 2])
        assert.strictEqual(rp.asked.filter(({ method }) => method === "POST").length, 3)
      })
    )
  )

  it.effect("to a submit puts it in doubt, with the job's id; where it refuses all, the batch ends", () =>
    Effect.gen(function* () {
      let jobs = 0
      const rp = Scripted.make(() => Scripted.json({ id: `job-${jobs++}`, status: "IN_QUEUE", note: secret }))
      const inputs = Array.from({ length: 30 }, (_, n) => ({ n }))
      const collected = Effect.flatMap(endpoint, (ep) => Effect.flip(Batch.collect(ep, inputs, { concurrency: 1 })))
      const error = yield* finish(Effect.provide(collected, rp.layer(options)))
      assert(error._tag === "DecodeError")
      assert.strictEqual(error.jobId, "job-9")
      assert.strictEqual(rp.asked.length, 10)
    })
  )
})
