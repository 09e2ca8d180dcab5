/** Endpoints, handles and waits over a `RunPod` of the user's own: a test double without our pipeline, and a decorator. */
import { assert, describe } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { ServerError, TransportError, RateLimitedError } from "../../src/errors/RunPodError.js"
import * as Submit from "../../src/internal/jobs/submit.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import type * as Health from "../../src/schemas/Health.js"
import type * as Job from "../../src/schemas/Job.js"
import * as JobId from "../../src/schemas/JobId.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finishWithin as finish } from "../support/finish.js"
import { inVirtualTime } from "../support/inVirtualTime.js"
import * as VirtualTime from "../support/virtualTime.js"
import * as Scripted from "../support/scripted.js"

const makeEndpoint = Endpoint.make("ep", {
  input: Schema.Struct({ n: Schema.Number }),
  output: Schema.Struct({ sum: Schema.Number }),
  chunk: Schema.Struct({ token: Schema.String })
})

const id = JobId.unsafeMake("job-1")
const queued: Job.Job = { id, status: "IN_QUEUE", raw: {} }
const running: Job.Job = { id, status: "IN_PROGRESS", raw: {} }
const completed: Job.Job = { id, status: "COMPLETED", output: { sum: 3 }, raw: {} }
const where = { operation: "run", method: "POST", path: "/ep/run", endpointId: "ep" }

/** A double with canned answers, and the operations it was asked for. */
const double = (answers: Partial<RunPod.Service> = {}) => {
  const asked: Array<string> = []
  const note = <A, E>(operation: string, answer: Effect.Effect<A, E>) =>
    Effect.zipRight(
      Effect.sync(() => void asked.push(operation)),
      answer
    )
  const canned: RunPod.Service = {
    run: () => Effect.succeed(queued),
    runSync: () => Effect.succeed(completed),
    status: () => Effect.succeed(completed),
    statusSync: () => Effect.succeed(completed),
    stream: () => Stream.make({ output: { token: "a" }, metrics: undefined, raw: {} }),
    cancel: () => Effect.succeed({ ...queued, status: "CANCELLED" }),
    retry: () => Effect.succeed(queued),
    purgeQueue: () => Effect.die("unused"),
    health: () => Effect.die("unused"),
    requests: () => Effect.succeed([queued]),
    ...answers
  }
  const service: RunPod.Service = {
    ...canned,
    run: (...args) => note("run", canned.run(...args)),
    runSync: (...args) => note("runSync", canned.runSync(...args)),
    status: (...args) => note("status", canned.status(...args)),
    statusSync: (...args) => note("statusSync", canned.statusSync(...args)),
    cancel: (...args) => note("cancel", canned.cancel(...args)),
    retry: (...args) => note("retry", canned.retry(...args))
  }
  return { asked, layer: Layer.succeed(RunPod.RunPod, service) }
}

type TheEndpoint = Effect.Effect.Success<typeof makeEndpoint>

const use = <A, E>(
  { layer }: { readonly layer: Layer.Layer<RunPod.RunPod> },
  f: (endpoint: TheEndpoint) => Effect.Effect<A, E, RunPod.RunPod>
) => Effect.provide(Effect.flatMap(makeEndpoint, f), layer)

describe("a test double of RunPod, and nothing else", () => {
  inVirtualTime("serves an endpoint, its handles and waits by id", () =>
    Effect.gen(function* () {
      const fake = double()
      yield* finish(
        use(fake, (ep) =>
          Effect.gen(function* () {
            assert.deepStrictEqual(yield* ep.call({ n: 1 }), { sum: 3 })
            assert.deepStrictEqual(yield* ep.runSync({ n: 1 }), { sum: 3 })
            const job = yield* ep.run({ n: 1 })
            assert.deepStrictEqual(yield* job.result(), { sum: 3 })
            assert.strictEqual((yield* job.status).status, "COMPLETED")
            assert.strictEqual((yield* job.retry).status, "IN_QUEUE")
            assert.strictEqual(Chunk.size(yield* Stream.runCollect(job.watch())), 1)
            assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Stream.runCollect(job.stream())), [{ token: "a" }])
            assert.strictEqual((yield* ep.attach("job-1").settle()).status, "COMPLETED")
            assert.strictEqual((yield* ep.requests).length, 1)
            assert.deepStrictEqual(yield* Jobs.result("ep", "job-1"), { sum: 3 })
          })
        )
      )
      assert.isFalse(fake.asked.includes("cancel"))
    })
  )

  for (const [name, hold] of Object.entries({ held: undefined, plain: false } as const)) {
    inVirtualTime(`a ${name} poll that it never answers ends at the deadline, and the job is cancelled`, () =>
      Effect.gen(function* () {
        const fake = double({ status: () => Effect.never, statusSync: () => Effect.never })
        const [took, error] = yield* finish(
          Effect.timed(Effect.flip(use(fake, (ep) => ep.call({ n: 1 }, { hold, timeout: "20 seconds" }))))
        )
        assert.strictEqual(error._tag, "WaitTimeoutError")
        assert.strictEqual(Duration.toMillis(took), 20_000)
        yield* VirtualTime.advance("1 second")
        assert.deepStrictEqual(fake.asked, ["run", hold === false ? "status" : "statusSync", "cancel"])
      })
    )
  }

  inVirtualTime("a call that is interrupted while its `run` is in flight cancels the job that comes back", () =>
    Effect.gen(function* () {
      const fake = double({ run: () => Effect.delay(Effect.succeed(queued), "2 seconds") })
      const fiber = yield* Effect.fork(use(fake, (ep) => ep.call({ n: 1 })))
      yield* VirtualTime.advance("1 second")
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* VirtualTime.advance("500 millis")
      assert.isNull(interrupting.unsafePoll())
      yield* VirtualTime.advance("1 second")
      assert.isTrue(Exit.isInterrupted(yield* Fiber.join(interrupting)))
      assert.deepStrictEqual(fake.asked, ["run", "cancel"])
    })
  )

  inVirtualTime("a call within an uninterruptible region is not interrupted", () =>
    Effect.gen(function* () {
      const fake = double({ run: () => Effect.delay(Effect.succeed(queued), "2 seconds") })
      const fiber = yield* Effect.fork(Effect.uninterruptible(use(fake, (ep) => ep.call({ n: 1 }))))
      yield* VirtualTime.advance("1 second")
      yield* Fiber.interruptFork(fiber)
      yield* VirtualTime.advance("5 seconds")
      assert.deepStrictEqual(fake.asked, ["run", "statusSync"])
    })
  )

  inVirtualTime("a cancel that it never answers does not hold up an interruption beyond its grace", () =>
    Effect.gen(function* () {
      const fake = double({ statusSync: () => Effect.never, cancel: () => Effect.never })
      const fiber = yield* Effect.fork(use(fake, (ep) => ep.call({ n: 1 }, { cancelGrace: "3 seconds" })))
      yield* VirtualTime.advance("1 second")
      const [took] = yield* finish(Effect.timed(Fiber.interrupt(fiber)))
      assert.strictEqual(Duration.toMillis(took), 3_000)
    })
  )

  inVirtualTime("a submit that may have started something is ambiguous, one that did not fails as it is", () =>
    Effect.gen(function* () {
      const lost = double({ run: () => Effect.fail(new TransportError({ ...where, sent: "Maybe", cause: "reset" })) })
      assert.strictEqual((yield* Effect.flip(use(lost, (ep) => ep.run({ n: 1 }))))._tag, "SubmitAmbiguousError")
      const broken = double({ run: () => Effect.fail(new ServerError({ ...where, status: 500 })) })
      assert.strictEqual((yield* Effect.flip(use(broken, (ep) => ep.run({ n: 1 }))))._tag, "SubmitAmbiguousError")
      const refused = double({ run: () => Effect.fail(new RateLimitedError(where)) })
      assert.strictEqual((yield* Effect.flip(use(refused, (ep) => ep.run({ n: 1 }))))._tag, "RateLimitedError")
    })
  )

  describe("under the hooks of a batch", () => {
    const withHooks = <A, E, R>(effect: Effect.Effect<A, E, R>, hooks: Submit.SubmitHooks) =>
      Effect.uninterruptibleMask((restore) => Effect.flatten(Submit.exitWithHooks(restore(effect), hooks)))
    const hooksOf = (isWanted: boolean) => {
      const told: Array<string> = []
      const tell = (what: string) => Effect.sync(() => void told.push(what))
      const hooks: Submit.SubmitHooks = {
        beforeSend: () => Effect.as(tell("beforeSend"), isWanted),
        onRefused: tell("onRefused"),
        onStart: () => {},
        onAbandoned: (handle) => tell(`onAbandoned ${handle.id}`)
      }
      return { told, hooks }
    }

    inVirtualTime("it is asked for nothing when the batch does not want the submit any more", () =>
      Effect.gen(function* () {
        const { hooks, told } = hooksOf(false)
        const fake = double()
        const exit = yield* Effect.exit(use(fake, (ep) => withHooks(ep.run({ n: 1 }), hooks)))
        assert.isTrue(Exit.isInterrupted(exit))
        assert.deepStrictEqual([told, fake.asked], [["beforeSend"], []])
      })
    )

    inVirtualTime("the batch is told of a refusal", () =>
      Effect.gen(function* () {
        const { hooks, told } = hooksOf(true)
        const fake = double({ run: () => Effect.fail(new RateLimitedError(where)) })
        yield* Effect.flip(use(fake, (ep) => withHooks(ep.run({ n: 1 }), hooks)))
        assert.deepStrictEqual(told, ["beforeSend", "onRefused"])
      })
    )

    inVirtualTime("the batch gets the job of an interrupted submit, which is not cancelled", () =>
      Effect.gen(function* () {
        const { hooks, told } = hooksOf(true)
        const fake = double({ run: () => Effect.delay(Effect.succeed(queued), "2 seconds") })
        const fiber = yield* Effect.fork(use(fake, (ep) => withHooks(ep.run({ n: 1 }), hooks)))
        yield* VirtualTime.advance("1 second")
        yield* Effect.fork(Fiber.interrupt(fiber))
        yield* VirtualTime.advance("2 seconds")
        assert.deepStrictEqual([told, fake.asked], [["beforeSend", "onAbandoned job-1"], ["run"]])
      })
    )
  })
})

describe("a test double that is a class", () => {
  class Double implements RunPod.Service {
    readonly job = queued
    readonly gauges: Health.Health = { jobs: { inQueue: 7 }, workers: { running: 2 }, raw: {} }
    run() {
      return Effect.succeed(this.job)
    }
    runSync() {
      return Effect.succeed(this.job)
    }
    status() {
      return Effect.succeed(this.job)
    }
    statusSync() {
      return Effect.delay(Effect.succeed(this.job), "10 seconds")
    }
    stream() {
      return Stream.empty
    }
    cancel() {
      return Effect.succeed(this.job)
    }
    retry() {
      return Effect.succeed(this.job)
    }
    purgeQueue() {
      return Effect.die("unused")
    }
    health() {
      return Effect.succeed(this.gauges)
    }
    requests() {
      return Effect.succeed([this.job])
    }
  }

  inVirtualTime("is asked for its endpoint's health as a method", () =>
    Effect.gen(function* () {
      const layer = Layer.succeed(RunPod.RunPod, new Double())
      const error = yield* finish(
        Effect.flip(
          use({ layer }, (ep) => Effect.flatMap(ep.run({ n: 1 }), (job) => job.result({ timeout: "2 minutes" })))
        )
      )
      assert.strictEqual(error._tag === "WaitTimeoutError" && error.diagnosis?.reason, "Busy")
    })
  )
})

describe("a decorator of the RunPod of a layer", () => {
  const { json } = Scripted
  const operationOf = ({ url }: Scripted.Asked): string => url.split("/")[3]?.split("?")[0] ?? ""
  const server = (poll: Scripted.Answer, latency?: Parameters<typeof Scripted.make>[1]) =>
    Scripted.make((asked) => {
      switch (operationOf(asked)) {
        case "run":
          return json(queued)
        case "cancel":
          return json({ id: "job-1", status: "CANCELLED" })
        default:
          return poll
      }
    }, latency)

  /** Counts the calls of some operations of the service below. */
  const counting = (transport: ReturnType<typeof Scripted.make>, options?: Partial<RunPod.Options>) => {
    const counts = { run: 0, status: 0, cancel: 0 }
    const counted = <A, E>(operation: keyof typeof counts, effect: Effect.Effect<A, E>) =>
      Effect.suspend(() => {
        counts[operation]++
        return effect
      })
    const decorate = (inner: RunPod.Service): RunPod.Service => ({
      ...inner,
      run: (...args) => counted("run", inner.run(...args)),
      status: (...args) => counted("status", inner.status(...args)),
      cancel: (...args) => counted("cancel", inner.cancel(...args))
    })
    const inner = transport.layer(options)
    const layer = Layer.effect(RunPod.RunPod, Effect.map(RunPod.RunPod, decorate)).pipe(Layer.provideMerge(inner))
    return { counts, layer }
  }

  inVirtualTime("sees every request of a call and its cancel, within the call's deadline", () =>
    Effect.gen(function* () {
      const transport = server(json(running))
      const { counts, layer } = counting(transport)
      const [took, error] = yield* finish(
        Effect.timed(Effect.flip(use({ layer }, (ep) => ep.call({ n: 1 }, { hold: false, timeout: "10 seconds" }))))
      )
      assert.strictEqual(error._tag, "WaitTimeoutError")
      assert.strictEqual(Duration.toMillis(took), 10_000)
      assert.isAtLeast(counts.status, 2)
      assert.deepStrictEqual({ ...counts, status: 0 }, { run: 1, status: 0, cancel: 1 })
      assert.strictEqual(transport.asked.length, counts.run + counts.status + counts.cancel)
    })
  )

  inVirtualTime("a poll below it that is not answered ends at the deadline", () =>
    Effect.gen(function* () {
      const { layer } = counting(server("hang", (asked) => (operationOf(asked) === "status" ? "1 hour" : 0)))
      const [took, error] = yield* finish(
        Effect.timed(Effect.flip(use({ layer }, (ep) => ep.call({ n: 1 }, { hold: false, timeout: "10 seconds" }))))
      )
      assert.strictEqual(error._tag, "WaitTimeoutError")
      assert.strictEqual(Duration.toMillis(took), 10_000)
    })
  )

  inVirtualTime("a submit below it that waits for its permit is withdrawn by an interruption", () =>
    Effect.gen(function* () {
      const limits = RateLimits.make({ run: { concurrency: 1 } })
      const transport = server(json(completed), (asked) => (operationOf(asked) === "run" ? "15 seconds" : 0))
      const { layer } = counting(transport, { limits })
      const program = use({ layer }, (ep) =>
        Effect.gen(function* () {
          const first = yield* Effect.fork(ep.call({ n: 1 }))
          yield* Effect.sleep("1 second")
          const second = yield* Effect.fork(ep.call({ n: 2 }))
          yield* Effect.sleep("1 second")
          const [took] = yield* Effect.timed(Fiber.interrupt(second))
          assert.strictEqual(Duration.toMillis(took), 0)
          yield* Fiber.join(first)
        })
      )
      yield* finish(program)
      assert.deepStrictEqual(
        transport.asked.map(operationOf).filter((operation) => operation !== "status-sync"),
        ["run"]
      )
    })
  )

  inVirtualTime("keeps the secrets of a submit out of the errors of a handle that is attached with them", () =>
    Effect.gen(function* () {
      const accessSecret = "s3-secret-of-the-job"
      const transport = server(json({ status: 400, title: "Bad Request", detail: `you sent ${accessSecret}` }, 400))
      const { layer } = counting(transport)
      const s3Config = {
        accessId: "id-of-the-account",
        accessSecret: Redacted.make(accessSecret),
        bucketName: "results",
        endpointUrl: "https://s3.example"
      }
      const errors = yield* finish(
        use({ layer }, (ep) => {
          const job = ep.attach("job-1", { s3Config })
          return Effect.all([
            Effect.flip(job.status),
            Effect.flip(job.retry),
            Effect.flip(job.settle()),
            Effect.flip(Stream.runDrain(job.watch())),
            Effect.flip(Stream.runDrain(job.stream()))
          ])
        })
      )
      for (const error of errors) {
        assert.strictEqual(error._tag, "BadRequestError")
        assert.notInclude(JSON.stringify(error) + error.message, accessSecret)
        assert.include(JSON.stringify(error), "<redacted>")
      }
    })
  )

  inVirtualTime("an attached handle knows when its job was submitted: a 404 moments after is waited out", () =>
    Effect.gen(function* () {
      yield* VirtualTime.advance("1 hour")
      const settle = (submittedBefore: number) =>
        Effect.gen(function* () {
          const now = yield* Clock.currentTimeMillis
          const notFound = json({ status: 404, title: "Not Found", detail: "job not found" }, 404)
          const { layer } = counting(Scripted.make(({ at }) => (at < now + 5_000 ? notFound : json(completed))))
          const known = { submittedAt: now - submittedBefore }
          return yield* finish(Effect.exit(use({ layer }, (ep) => ep.attach("job-1", known).settle())))
        })
      assert.isTrue(Exit.isFailure(yield* settle(120_000)))
      assert.isTrue(Exit.isSuccess(yield* settle(1_000)))
    })
  )
})
