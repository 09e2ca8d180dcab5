import * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import type * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import { withDeadline } from "../../src/internal/http/requestOptions.js"
import * as Submit from "../../src/internal/jobs/submit.js"
import { monotonicMillis } from "../../src/internal/pace/monotonic.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPodHttpClient from "../../src/layers/RunPodHttpClient.js"
import * as Job from "../../src/schemas/Job.js"
import { rows } from "../../src/schemas/Operation.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"
import { call, job, status, text, timed } from "../support/pipeline.js"

const exact = RetryPolicy.make({ jitter: "none", maxAttempts: 4 })

describe("RunPodHttpClient: interruption", () => {
  const interruptAfter = (
    effect: Effect.Effect<unknown, RunPodError, RunPod.RunPod>,
    transport: ReturnType<typeof Scripted.make>,
    wait: Duration.DurationInput,
    options: Partial<RunPod.Options> = {}
  ) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Effect.provide(effect, transport.layer(options)))
      yield* TestClock.adjust(wait)
      const exit = yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("10 minutes")
      return exit
    })

  for (const operation of ["run", "runSync", "status", "retry"] as const) {
    it.effect(`of ${operation} aborts its request at once`, () =>
      Effect.gen(function* () {
        const transport = Scripted.make(["hang"])
        const exit = yield* interruptAfter(call(operation), transport, "1 second")
        assert.isTrue(Exit.isInterrupted(exit))
        assert.strictEqual(transport.aborted(), 1)
        assert.strictEqual(transport.asked.length, 1)
      })
    )
  }

  it.effect("while a body comes aborts its request", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([{ status: 200, stream: Stream.never }])
      const transformClient = HttpClient.transformResponse(Effect.tap((response) => Effect.sync(() => response)))
      const exit = yield* interruptAfter(status(), transport, "1 second", { transformClient })
      assert.isTrue(Exit.isInterrupted(exit))
    })
  )

  it.effect("between two attempts sends nothing more", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([text(429, { "retry-after": "60" })])
      const exit = yield* interruptAfter(call("run"), transport, "30 seconds")
      assert.isTrue(Exit.isInterrupted(exit))
      assert.strictEqual(transport.asked.length, 1)
    })
  )

  it.effect("of a request that waits in the limiter sends nothing and leaves its place to the next", () =>
    Effect.gen(function* () {
      const transport = Scripted.make([job], "10 seconds")
      const limits = RateLimits.make({ run: { concurrency: 1 } })
      const submit = (name: string) => Effect.flatMap(RunPod.RunPod, (runPod) => runPod.run("ep", { input: { name } }))
      const program = Effect.gen(function* () {
        const first = yield* Effect.fork(submit("first"))
        yield* Effect.sleep("1 second")
        const second = yield* Effect.fork(submit("second"))
        yield* Effect.sleep("1 second")
        const third = yield* Effect.fork(submit("third"))
        yield* Effect.sleep("1 second")
        const exit = yield* Fiber.interrupt(second)
        yield* Fiber.join(first)
        yield* Fiber.join(third)
        return exit
      })
      const exit = yield* finish(Effect.provide(program, transport.layer({ limits })))
      assert.isTrue(Exit.isInterrupted(exit))
      assert.deepStrictEqual(
        transport.asked.map(({ body }) => body),
        [`{"input":{"name":"first"}}`, `{"input":{"name":"third"}}`]
      )
      assert.deepStrictEqual(transport.times(), [0, 10_000])
    })
  )
})

// A fiber can be interrupted between any two steps when its scheduler lets it yield there. These let a call yield once,
// after each number of steps, and interrupt it then.
describe("RunPodHttpClient: an interruption between any two steps leaves no permit behind", () => {
  const answer = HttpClient.make((request) => {
    const response = Object.create(null) as Record<string, unknown>
    return Effect.succeed(
      Object.assign(response, {
        request,
        status: 200,
        headers: {},
        stream: Stream.succeed(new TextEncoder().encode(`{"status":"IN_QUEUE"}`))
      }) as never
    )
  })

  /** Runs the tasks of its fibers one by one, and lets the n-th step of them all yield, where a fiber may yield. */
  class Steps implements Scheduler.Scheduler {
    private readonly tasks: Array<() => void> = []
    private steps = 0
    yieldAt = Infinity
    get hasYielded(): boolean {
      return this.steps > this.yieldAt
    }
    shouldYield(fiber: Fiber.RuntimeFiber<unknown, unknown>): number | false {
      if (fiber.getFiberRef(FiberRef.currentMaxOpsBeforeYield) === Infinity) return false
      return this.steps++ === this.yieldAt ? 0 : false
    }
    scheduleTask(task: () => void): void {
      this.tasks.push(task)
    }
    /** Runs until nothing is left to do, or just before the fiber that yielded goes on. */
    run(stopsAtYield = false): void {
      for (let i = 0; i < 10_000 && !(stopsAtYield && this.hasYielded); i++) {
        const task = this.tasks.shift()
        if (task === undefined) return
        task()
      }
    }
    /** From here on, the n-th step. */
    yieldAfter(steps: number): void {
      this.steps = 0
      this.yieldAt = steps
    }
  }

  const read: RunPodHttpClient.Request<Job.Job> = {
    operation: rows.status,
    params: { endpointId: "ep", jobId: "job-1" },
    read: (body) => Job.fromReply(body, "job-1")
  }

  /** An answer of which no more than the beginning comes, read by one who leaves after that. */
  const opened: RunPodHttpClient.OpenRequest = {
    operation: { ...rows.status, path: "/ep/status/job-1" },
    params: { endpointId: "ep" },
    url: "https://runpod.test/v2/ep/status/job-1",
    headersTimeout: 30_000,
    idleTimeout: 30_000,
    errorOf: () => undefined
  }
  const endless = Stream.concat(Stream.make(Uint8Array.of(1)), Stream.never)
  const calls: Readonly<
    Record<Options["call"], (client: RunPodHttpClient.Service) => Effect.Effect<unknown, RunPodError>>
  > = {
    execute: (client) => client.execute(read),
    // Who has got the answer reads it.
    open: (client) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(restore(client.open(opened)), ({ stream }) => Stream.runDrain(Stream.take(stream, 1)))
      )
  }

  interface Options {
    readonly call: "execute" | "open"
    readonly deadline: number
    readonly waits: boolean
  }

  /** Interrupts the second of two calls, which waits for the first or not, after each number of steps it takes. */
  const interruptAtEach = ({ call, deadline, waits }: Options): number => {
    let scheduler = new Steps()
    let hold: Deferred.Deferred<void> | undefined
    const transport = HttpClient.transformResponse(answer, (response) => {
      const given =
        call === "execute"
          ? response
          : Effect.map(
              response,
              (response) => Object.create(response, { stream: { value: endless } }) as typeof response
            )
      return hold === undefined ? given : Effect.zipRight(Deferred.await(hold), given)
    })
    const scope = Effect.runSync(Scope.make())
    const make = () =>
      Effect.runSync(
        RunPodHttpClient.make({
          apiKey: "test-key",
          retry: RetryPolicy.none,
          limits: RateLimits.make({ status: { limit: Infinity, concurrency: 1 } })
        }).pipe(Effect.provideService(HttpClient.HttpClient, transport), Scope.extend(scope))
      )
    let client = make()
    const lost: Array<number> = []
    const fork = (effect: Effect.Effect<unknown, RunPodError>) => Effect.runFork(effect, { scheduler })
    const isOver = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => fiber.unsafePoll() !== null

    for (let steps = 0; ; steps++) {
      scheduler = new Steps()
      const held = Deferred.unsafeMake<void>(FiberId.none)
      hold = waits ? held : undefined
      const first = waits ? fork(calls[call](client)) : undefined
      scheduler.run()
      hold = undefined
      scheduler.yieldAfter(steps)
      const now = Effect.runSync(Effect.clockWith((clock) => Effect.succeed(monotonicMillis(clock))))
      const fiber = fork(withDeadline(calls[call](client), now + deadline))
      scheduler.run(true)
      // When it waits for the first, that one ends only now.
      Deferred.unsafeDone(held, Exit.void)
      scheduler.run(true)
      const { hasYielded } = scheduler
      fiber.unsafeInterruptAsFork(FiberId.none)
      scheduler.run()
      assert.isTrue(isOver(fiber), `the call is stuck, interrupted after ${steps} steps`)
      assert.isTrue(first === undefined || isOver(first), `the first call is stuck, after ${steps} steps`)
      if (!Effect.runSync(client.hasRoom(rows.status, "ep"))) {
        lost.push(steps)
        client = make()
      }
      if (hasYielded) continue
      Effect.runFork(Scope.close(scope, Exit.void))
      // An answer that is lost on its last steps to its caller is closed when it is collected.
      const most = call === "open" ? 5 : 0
      assert.isAtMost(lost.length, most, `permits are lost, after ${lost.join(", ")} steps`)
      return steps
    }
  }

  for (const [name, options] of Object.entries<Options>({
    "with a free limiter": { call: "execute", deadline: Infinity, waits: false },
    "with a full limiter": { call: "execute", deadline: Infinity, waits: true },
    "with a deadline and a free limiter": { call: "execute", deadline: 100_000, waits: false },
    "with a deadline and a full limiter": { call: "execute", deadline: 100_000, waits: true },
    "of an answer that is passed on": { call: "open", deadline: Infinity, waits: false }
  })) {
    it(name, () => {
      assert.isAbove(interruptAtEach(options), 100)
    })
  }
})

describe("RunPodHttpClient: a submit that is not aborted", () => {
  const submit = (ends: Array<Submit.Submitted<Job.Job>>, client: RunPodHttpClient.Service) =>
    Effect.uninterruptibleMask((restore) =>
      Submit.run(
        {
          send: client.execute({
            operation: rows.run,
            params: { endpointId: "ep" },
            body: new TextEncoder().encode(`{"input":{"n":1}}`),
            read: Job.fromSubmitReply
          }),
          where: { operation: "run", method: "POST", path: "/ep/run", endpointId: "ep" },
          fork: client.fork
        },
        restore,
        (end) => Effect.sync(() => ends.push(end))
      )
    )

  const interrupted = (answer: Scripted.Answer, latency: Duration.DurationInput = 0) =>
    Effect.gen(function* () {
      const transport = Scripted.make([answer], latency)
      const ends: Array<Submit.Submitted<Job.Job>> = []
      const scope = yield* Scope.make()
      const client = yield* RunPodHttpClient.make({ apiKey: "test-key", retry: exact }).pipe(
        Effect.provideService(HttpClient.HttpClient, transport.client),
        Scope.extend(scope)
      )
      const fiber = yield* Effect.fork(submit(ends, client))
      yield* TestClock.adjust("1 second")
      const interruption = yield* Effect.fork(timed(Fiber.interrupt(fiber)))
      yield* TestClock.adjust("1 second")
      const closing = yield* Effect.fork(timed(Scope.close(scope, Exit.void)))
      yield* TestClock.adjust("10 minutes")
      const { at, exit } = yield* Fiber.join(interruption)
      return { transport, ends, at, exit, closed: (yield* Fiber.join(closing)).at }
    })

  it.effect("gives its job to who takes care of it, and the interruption and the layer's end wait for that", () =>
    Effect.gen(function* () {
      const { at, closed, ends, exit, transport } = yield* interrupted(job, "8 seconds")
      assert(Exit.isSuccess(exit) && Exit.isInterrupted(exit.value))
      assert.deepStrictEqual(
        ends.map((end) => (end._tag === "Accepted" ? String(end.value.id) : end._tag)),
        ["job-1"]
      )
      assert.deepStrictEqual([at, closed], [8_000, 8_000])
      assert.strictEqual(transport.aborted(), 0)
    })
  )

  it.effect("still has its attempt's deadline, and is ambiguous then", () =>
    Effect.gen(function* () {
      const { at, ends, transport } = yield* interrupted("hang")
      assert.deepStrictEqual(
        ends.map(({ _tag }) => _tag),
        ["Ambiguous"]
      )
      assert.strictEqual(at, 30_000)
      assert.strictEqual(transport.aborted(), 1)
    })
  )

  it.effect("is not sent again", () =>
    Effect.gen(function* () {
      const { ends, transport } = yield* interrupted(text(429), "8 seconds")
      assert.deepStrictEqual(
        ends.map(({ _tag }) => _tag),
        ["Withdrawn"]
      )
      assert.strictEqual(transport.asked.length, 1)
    })
  )
})
