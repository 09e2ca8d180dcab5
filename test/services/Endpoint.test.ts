import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { JobError } from "../../src/errors/JobError.js"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import type * as RunPod from "../../src/services/RunPod.js"
import { finishWithin as finish } from "../support/finish.js"
import { inVirtualTime } from "../support/inVirtualTime.js"
import * as VirtualTime from "../support/virtualTime.js"
import * as Recorder from "../support/recorder.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted

const N = Schema.Struct({ n: Schema.NumberFromString })
const Sum = Schema.Struct({ sum: Schema.Number })
const endpoint = Endpoint.make("ep", { input: N, output: Sum, progress: Schema.Struct({ step: Schema.Number }) })
type Sums = Effect.Effect.Success<typeof endpoint>

const queued = json({ id: "job-1", status: "IN_QUEUE" })
const running = json({ id: "job-1", status: "IN_PROGRESS" })
const completed = json({ id: "job-1", status: "COMPLETED", output: { sum: 3 } })
const cancelled = json({ id: "job-1", status: "CANCELLED" })

type Transport = ReturnType<typeof Scripted.make>

const operationOf = ({ url }: Scripted.Asked): string => url.split("/")[3]?.split("?")[0] ?? ""
const operations = (t: Transport) => t.asked.map(operationOf)
const bodyOf = (asked: Scripted.Asked | undefined): unknown => JSON.parse(asked?.body ?? "null")

/** A transport that answers by operation; what is not named never answers. */
const server = (answers: Record<string, Scripted.Answer>, latency?: Parameters<typeof Scripted.make>[1]) =>
  Scripted.make((asked) => answers[operationOf(asked)] ?? "hang", latency)

const use = <A, E>(
  t: Transport,
  f: (endpoint: Sums) => Effect.Effect<A, E, RunPod.RunPod>,
  options?: Partial<RunPod.Options>
) => Effect.provide(Effect.flatMap(endpoint, f), t.layer(options))

const errorOf = <A, E>(effect: Effect.Effect<A, E>) => Effect.map(finish(Effect.flip(effect)), (error) => error)

type Submit = "run" | "call" | "runSync"
const submits: ReadonlyArray<Submit> = ["run", "call", "runSync"]

const submit = (
  endpoint: Pick<Sums, Submit>,
  by: Submit,
  input: { readonly n: number },
  options: Endpoint.RunOptions = {}
): Effect.Effect<unknown, RunPodError | JobError> => endpoint[by](input, options)

describe("Endpoint", () => {
  describe("what is sent", () => {
    inVirtualTime("the input as its schema encodes it, with policy, webhook and S3 beside it", () =>
      Effect.gen(function* () {
        const t = server({ run: queued })
        const job = yield* use(t, (ep) =>
          ep.run(
            { n: 7 },
            {
              webhook: new URL("https://app.example/hook"),
              policy: { ttl: "1 hour", executionTimeout: "1 minute", lowPriority: true },
              s3Config: { accessId: "id", accessSecret: "secret", bucketName: "b", endpointUrl: "https://s3.example" }
            }
          )
        )
        assert.strictEqual(job.id, "job-1")
        assert.strictEqual(job.endpointId, "ep")
        assert.deepStrictEqual(bodyOf(t.asked[0]), {
          input: { n: "7" },
          webhook: "https://app.example/hook",
          policy: { ttl: 3_600_000, executionTimeout: 60_000, lowPriority: true },
          s3Config: { accessId: "id", accessSecret: "secret", bucketName: "b", endpointUrl: "https://s3.example" }
        })
      })
    )

    inVirtualTime("nothing by making an endpoint or attaching to a job", () =>
      Effect.gen(function* () {
        const t = server({})
        const job = yield* use(t, (ep) => Effect.sync(() => ep.attach("job-9")))
        assert.strictEqual(job.id, "job-9")
        assert.deepStrictEqual(t.asked, [])
      })
    )

    inVirtualTime("one request for each of the endpoint's operations", () =>
      Effect.gen(function* () {
        const t = server({
          health: json({ jobs: { inQueue: 2 }, workers: {} }),
          "purge-queue": json({ removed: 2, status: "completed" }),
          requests: json({ requests: [{ id: "job-1", status: "IN_QUEUE" }] })
        })
        yield* use(t, (ep) =>
          Effect.gen(function* () {
            assert.strictEqual((yield* ep.health).jobs.inQueue, 2)
            assert.strictEqual((yield* ep.purgeQueue).removed, 2)
            assert.deepStrictEqual(
              (yield* ep.requests).map(({ id }) => String(id)),
              ["job-1"]
            )
          })
        )
        assert.deepStrictEqual(
          t.asked.map(({ method, url }) => `${method} ${url}`),
          ["GET /v2/ep/health", "POST /v2/ep/purge-queue", "GET /v2/ep/requests"]
        )
      })
    )
  })

  describe("what is refused before anything is sent", () => {
    const plain = Endpoint.make("ep", { input: Schema.Unknown, output: Schema.Unknown })
    const refused = <A>(
      f: (endpoint: Endpoint.Endpoint<unknown, unknown>) => Effect.Effect<A, RunPodError | JobError>,
      made: typeof plain = plain
    ) =>
      Effect.gen(function* () {
        const t = server({})
        const error = yield* errorOf(Effect.provide(Effect.flatMap(made, f), t.layer()))
        assert.deepStrictEqual(t.asked, [])
        return error
      })

    for (const by of submits) {
      inVirtualTime(`${by}: an input that its schema cannot encode, with the place that is wrong`, () =>
        Effect.gen(function* () {
          const t = server({})
          const positive = Endpoint.make("ep", {
            input: Schema.Struct({ seeds: Schema.Array(Schema.Positive) }),
            output: Schema.Unknown
          })
          const error = yield* errorOf(
            Effect.provide(
              Effect.flatMap(positive, (ep) => ep[by]({ seeds: [1, -2] })),
              t.layer()
            )
          )
          assert(error._tag === "BadRequestError")
          assert.strictEqual(error.status, undefined)
          assert.include(error.message, "not what its schema says")
          assert.include(error.message, `["seeds"]`)
          assert.deepStrictEqual(t.asked, [])
        })
      )

      inVirtualTime(`${by}: an empty input, with the reason`, () =>
        Effect.gen(function* () {
          const error = yield* refused((ep) => ep[by]({}))
          assert(error._tag === "BadRequestError")
          assert.strictEqual(error.status, undefined)
          assert.include(error.message, "fails the job minutes later")
        })
      )

      for (const [name, input] of Object.entries({ "an array": [1], text: "hello", null: null, nothing: undefined })) {
        inVirtualTime(`${by}: an input that is ${name}`, () =>
          Effect.gen(function* () {
            const error = yield* refused((ep) => ep[by](input))
            assert(error._tag === "BadRequestError")
            assert.include(error.message, "JSON object")
          })
        )
      }

      inVirtualTime(`${by}: a body that is too large`, () =>
        Effect.gen(function* () {
          const error = yield* refused((ep) => ep[by]({ text: "x".repeat(21_000_000) }))
          assert(error._tag === "PayloadTooLargeError")
        })
      )

      inVirtualTime(`${by}: a policy out of range`, () =>
        Effect.gen(function* () {
          const error = yield* refused((ep) => ep[by]({ n: 1 }, { policy: { ttl: "1 second" } }))
          assert(error._tag === "BadRequestError")
          assert.include(error.message, "ttl")
        })
      )

      inVirtualTime(`${by}: an endpoint id that cannot be one`, () =>
        Effect.gen(function* () {
          const made = Endpoint.make("../ep", { input: Schema.Unknown, output: Schema.Unknown })
          const error = yield* refused((ep) => ep[by]({ n: 1 }), made)
          assert(error._tag === "BadRequestError")
          assert.include(error.message, "endpoint id")
        })
      )

      inVirtualTime(`${by}: a webhook that nobody issues`, () =>
        Effect.gen(function* () {
          const error = yield* refused((ep) => ep[by]({ n: 1 }, { webhook: true }))
          assert(error._tag === "BadRequestError")
          assert.strictEqual(error.status, undefined)
          assert.include(error.message, "Webhooks")
        })
      )
    }

    inVirtualTime("attach: a job id that cannot be one, when it is asked for", () =>
      Effect.gen(function* () {
        const error = yield* refused((ep) => ep.attach("..").status)
        assert(error._tag === "BadRequestError")
        assert.include(error.message, "job id")
      })
    )
  })

  describe("a submit whose fate is unknown", () => {
    for (const by of submits) {
      inVirtualTime(`${by}: is not sent again`, () =>
        Effect.gen(function* () {
          const t = Scripted.make(() => "reset")
          const error = yield* errorOf(use(t, (ep) => submit(ep, by, { n: 1 })))
          assert.strictEqual(error._tag, "SubmitAmbiguousError")
          assert.strictEqual(t.asked.length, 1)
        })
      )

      inVirtualTime(`${by}: is sent again when the caller says so`, () =>
        Effect.gen(function* () {
          const t = Scripted.make((asked) =>
            operationOf(asked) !== "run" && operationOf(asked) !== "runsync"
              ? completed
              : t.asked.length === 1
                ? "reset"
                : queued
          )
          yield* finish(use(t, (ep) => submit(ep, by, { n: 1 }, { resubmit: true })))
          assert.deepStrictEqual(operations(t).slice(0, 2), by === "runSync" ? ["runsync", "runsync"] : ["run", "run"])
        })
      )
    }
  })

  describe("call", () => {
    inVirtualTime("submits, holds and returns the decoded output", () =>
      Effect.gen(function* () {
        const t = server({ run: queued, "status-sync": completed })
        assert.deepStrictEqual(yield* finish(use(t, (ep) => ep.call({ n: 1 }))), { sum: 3 })
        assert.deepStrictEqual(
          t.asked.map(({ url }) => url),
          ["/v2/ep/run", "/v2/ep/status-sync/job-1?wait=90000"]
        )
      })
    )

    inVirtualTime("counts its timeout from the call, the submit included", () =>
      Effect.gen(function* () {
        const t = server({ run: queued, cancel: cancelled }, (asked) =>
          operationOf(asked) === "run" ? "4 seconds" : 0
        )
        const [took, error] = yield* finish(
          Effect.timed(Effect.flip(use(t, (ep) => ep.call({ n: 1 }, { timeout: "10 seconds" }))))
        )
        assert(error._tag === "WaitTimeoutError")
        assert.strictEqual(Duration.toMillis(error.elapsed), 10_000)
        assert.strictEqual(Duration.toMillis(took), 10_000)
      })
    )

    inVirtualTime("a job that failed is its JobError, and is not cancelled", () =>
      Effect.gen(function* () {
        const t = server({ run: queued, "status-sync": json({ status: "FAILED", error: "no memory" }) })
        const error = yield* errorOf(use(t, (ep) => ep.call({ n: 1 })))
        assert(error._tag === "JobFailedError")
        assert.strictEqual(error.jobId, "job-1")
        assert.deepStrictEqual(operations(t), ["run", "status-sync"])
      })
    )
  })

  describe("runSync", () => {
    inVirtualTime("takes one request for a job that ends within its hold of ten seconds", () =>
      Effect.gen(function* () {
        const t = server({ runsync: completed })
        assert.deepStrictEqual(yield* finish(use(t, (ep) => ep.runSync({ n: 1 }))), { sum: 3 })
        assert.deepStrictEqual(
          t.asked.map(({ url }) => url),
          ["/v2/ep/runsync?wait=10000"]
        )
      })
    )

    inVirtualTime("goes on like call when the job has not ended by then", () =>
      Effect.gen(function* () {
        const t = server({ runsync: running, "status-sync": completed }, "5 seconds")
        assert.deepStrictEqual(yield* finish(use(t, (ep) => ep.runSync({ n: 1 }))), { sum: 3 })
        assert.deepStrictEqual(
          t.asked.map(({ url }) => url),
          ["/v2/ep/runsync?wait=10000", "/v2/ep/status-sync/job-1?wait=90000"]
        )
      })
    )

    inVirtualTime("takes an ended job without an id", () =>
      Effect.gen(function* () {
        const t = server({ runsync: json({ status: "COMPLETED", output: { sum: 4 } }) })
        assert.deepStrictEqual(yield* finish(use(t, (ep) => ep.runSync({ n: 1 }))), { sum: 4 })
      })
    )

    inVirtualTime("cannot follow an unfinished job without an id: its fate is unknown", () =>
      Effect.gen(function* () {
        const t = server({ runsync: json({ status: "IN_PROGRESS" }) })
        const error = yield* errorOf(use(t, (ep) => ep.runSync({ n: 1 })))
        assert.strictEqual(error._tag, "SubmitAmbiguousError")
        assert.strictEqual(t.asked.length, 1)
      })
    )

    inVirtualTime("a job that failed within the hold is its JobError", () =>
      Effect.gen(function* () {
        const t = server({ runsync: json({ id: "job-1", status: "FAILED", error: "no memory" }) })
        assert.strictEqual((yield* errorOf(use(t, (ep) => ep.runSync({ n: 1 }))))._tag, "JobFailedError")
        assert.strictEqual(t.asked.length, 1)
      })
    )
  })

  /** Where a call can stand when it ends early: what answers, how late, and when it is cut. */
  interface Phase {
    readonly answers: Record<string, Scripted.Answer>
    readonly latency?: Parameters<typeof Scripted.make>[1]
    readonly options?: Endpoint.CallOptions
    /** Milliseconds after the call. */
    readonly at: number
  }

  const phases = (by: "call" | "runSync"): Record<string, Phase> => {
    const isSubmit = (asked: Scripted.Asked) => operationOf(asked).startsWith("run")
    const answers = { run: queued, runsync: queued, cancel: cancelled, status: running }
    const slowSubmit = (asked: Scripted.Asked) => (isSubmit(asked) ? 500 : 0)
    return {
      [`${by}, its submit in flight`]: { answers, latency: slowSubmit, at: 300 },
      [`${by}, just accepted`]: { answers, latency: slowSubmit, at: 500 },
      [`${by}, holding`]: { answers, at: 2_000 },
      [`${by}, between plain polls`]: { answers, options: { hold: false }, at: 4_000 },
      [`${by}, its plain poll in flight`]: {
        answers,
        latency: (asked) => (operationOf(asked) === "status" ? 2_000 : 0),
        options: { poll: { initial: "1 second" } },
        at: 2_000
      },
      [`${by}, after a fault`]: { answers: { ...answers, "status-sync": { status: 503, body: "" } }, at: 20_000 }
    }
  }

  for (const [name, { answers, at, latency, options }] of Object.entries({ ...phases("call"), ...phases("runSync") })) {
    const by = name.startsWith("call") ? "call" : "runSync"
    const submitted = by === "call" ? "run" : "runsync"

    inVirtualTime(`interrupted: ${name}: one submit, one cancel, and the interruption waits for it`, () =>
      Effect.gen(function* () {
        // The clock wakes sleepers of one moment in the order they went to sleep: before and after the answer.
        for (const order of ["before", "after"]) {
          const t = server(answers, latency)
          const call = use(t, (ep) => ep[by]({ n: 1 }, options))
          const sleeper = yield* Effect.fork(Effect.sleep(at))
          const fiber = yield* Effect.fork(call)
          const moment = order === "before" ? Fiber.join(sleeper) : Effect.sleep(at)
          const interrupting = yield* Effect.fork(Effect.zipRight(moment, Fiber.interrupt(fiber)))
          yield* VirtualTime.advance(at + 10_000)
          assert.isTrue(Exit.isInterrupted(yield* Fiber.join(interrupting)))
          assert.deepStrictEqual(
            operations(t).filter((name) => !name.startsWith("status")),
            [submitted, "cancel"],
            order
          )
          assert.strictEqual(t.asked.at(-1)?.url, "/v2/ep/cancel/job-1")
        }
      })
    )

    inVirtualTime(`timed out: ${name}: it fails at its deadline, and one cancel follows in the background`, () =>
      Effect.gen(function* () {
        const t = server(answers, latency)
        const began = yield* Clock.currentTimeMillis
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(t.layer(), scope)
        const [took, error] = yield* finish(
          Effect.timed(
            Effect.flip(
              Effect.provide(
                Effect.flatMap(endpoint, (ep) => ep[by]({ n: 1 }, { ...options, timeout: at })),
                context
              )
            )
          ),
          at
        )
        assert(error._tag === "WaitTimeoutError")
        assert.strictEqual(Duration.toMillis(took), at)
        assert.strictEqual(error.cancel, "Pending")
        yield* VirtualTime.advance("1 minute")
        assert.deepStrictEqual(
          operations(t).filter((name) => !name.startsWith("status")),
          [submitted, "cancel"]
        )
        assert.isTrue(t.asked.every((asked) => operationOf(asked) === "cancel" || asked.at <= began + at))
        yield* Scope.close(scope, Exit.void)
      })
    )
  }

  for (const by of submits) {
    inVirtualTime(`interrupted: ${by}, waiting for its permit: nothing is sent, ever`, () =>
      Effect.gen(function* () {
        const limits = RateLimits.make({ run: { concurrency: 1 }, runSync: { concurrency: 1 } })
        const t = server({ run: queued, runsync: queued, cancel: cancelled, "status-sync": completed }, "15 seconds")
        const program = use(
          t,
          (ep) =>
            Effect.gen(function* () {
              const first = yield* Effect.fork(submit(ep, by, { n: 1 }))
              yield* Effect.sleep("1 second")
              const second = yield* Effect.fork(submit(ep, by, { n: 2 }))
              yield* Effect.sleep("5 seconds")
              yield* Fiber.interrupt(second)
              yield* Fiber.join(first)
            }),
          { limits }
        )
        yield* finish(program, "5 minutes")
        const sent = t.asked.filter(({ method, url }) => method === "POST" && url.includes("/run"))
        assert.deepStrictEqual(sent.map(bodyOf), [{ input: { n: "1" } }])
        assert.isFalse(operations(t).includes("cancel"))
      })
    )
  }

  inVirtualTime("timed out: call, waiting for its permit: it fails at its deadline, and nothing is sent, ever", () =>
    Effect.gen(function* () {
      const limits = RateLimits.make({ run: { concurrency: 1 } })
      const t = server({ run: queued, cancel: cancelled, "status-sync": completed }, "15 seconds")
      const program = use(
        t,
        (ep) =>
          Effect.gen(function* () {
            const first = yield* Effect.fork(ep.call({ n: 1 }))
            yield* Effect.sleep("1 second")
            const [took, error] = yield* Effect.timed(Effect.flip(ep.call({ n: 2 }, { timeout: "5 seconds" })))
            assert(error._tag === "WaitTimeoutError")
            assert.strictEqual(error.jobId, undefined)
            assert.strictEqual(Duration.toMillis(took), 5_000)
            yield* Fiber.join(first)
          }),
        { limits }
      )
      yield* finish(program)
      assert.deepStrictEqual(operations(t), ["run", "status-sync"])
    })
  )

  describe("a job whose caller is gone", () => {
    inVirtualTime("run, interrupted while its submit is in flight, cancels it", () =>
      Effect.gen(function* () {
        const t = server({ run: queued, cancel: cancelled }, "500 millis")
        const fiber = yield* Effect.fork(use(t, (ep) => ep.run({ n: 1 })))
        yield* VirtualTime.advance("200 millis")
        yield* Fiber.interruptFork(fiber)
        yield* VirtualTime.advance("5 seconds")
        assert.deepStrictEqual(operations(t), ["run", "cancel"])
        assert.strictEqual(t.aborted(), 0)
      })
    )

    inVirtualTime("one that has ended is not cancelled", () =>
      Effect.gen(function* () {
        const t = server({ runsync: completed, cancel: cancelled }, "500 millis")
        const fiber = yield* Effect.fork(use(t, (ep) => ep.runSync({ n: 1 })))
        yield* VirtualTime.advance("200 millis")
        yield* Fiber.interruptFork(fiber)
        yield* VirtualTime.advance("5 seconds")
        assert.deepStrictEqual(operations(t), ["runsync"])
      })
    )

    inVirtualTime("is left alone, and named in the log, when the caller said not to cancel", () =>
      Effect.gen(function* () {
        const { entries, layer } = Recorder.makeLogger()
        const t = server({ run: queued, cancel: cancelled }, "500 millis")
        const call = use(t, (ep) => ep.call({ n: 1 }, { cancelOnInterrupt: false }))
        const fiber = yield* Effect.fork(Effect.provide(call, layer))
        yield* VirtualTime.advance("200 millis")
        yield* Fiber.interruptFork(fiber)
        yield* VirtualTime.advance("5 seconds")
        assert.deepStrictEqual(operations(t), ["run"])
        assert.isTrue(entries.some(({ message }) => String(message).includes("job-1")))
      })
    )

    inVirtualTime("a submit that fails then is told in the log, since there is nobody else", () =>
      Effect.gen(function* () {
        const { entries, layer } = Recorder.makeLogger()
        const t = server({ run: "reset" }, "500 millis")
        const fiber = yield* Effect.fork(
          Effect.provide(
            use(t, (ep) => ep.call({ n: 1 })),
            layer
          )
        )
        yield* VirtualTime.advance("200 millis")
        yield* Fiber.interruptFork(fiber)
        yield* VirtualTime.advance("5 seconds")
        assert.strictEqual(entries.length, 1)
        assert.include(Cause.pretty(entries[0]!.cause), "SubmitAmbiguousError")
      })
    )
  })
})
