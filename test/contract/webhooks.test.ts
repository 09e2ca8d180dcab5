/** Waits with webhooks, against the emulator in memory: what is lost, doubled, late or out of order changes no result. */
import { assert, describe } from "@effect/vitest"
import { Chunk, Clock, Duration, Effect, Exit, Fiber, Layer, Schema, Stream } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as Jobs from "../../src/services/Jobs.js"
import * as Webhooks from "../../src/services/Webhooks.js"
import { finishWithin as finish } from "../support/finish.js"
import { inVirtualTime } from "../support/inVirtualTime.js"
import * as VirtualTime from "../support/virtualTime.js"

const { Fault } = Emulator

const webhooks = Webhooks.layer({ secret: "a-secret-of-32-characters-for-tests", url: "https://app.example/hooks" })

const options: Emulator.RunPodOptions = {
  endpoints: { ep: { workers: 1000, execution: "60 seconds" }, quick: { workers: 1000 } }
}

const twentieth = RateLimits.make({ status: { limit: 100, window: "10 seconds", concurrency: 20 } })

const provide = (more: Partial<Emulator.RunPodOptions> = {}) =>
  Effect.provide(Layer.provideMerge(Emulator.layerRunPod({ ...options, ...more }), webhooks))

const make = (id = "ep") =>
  Endpoint.make(id, { input: Schema.Struct({ n: Schema.Number }), output: Schema.Struct({ n: Schema.Number }) })

/** Requests by operation, without those that were none. */
const requests = Effect.gen(function* () {
  const { counts } = yield* Emulator.Emulator
  const { byOperation } = yield* counts
  return Object.fromEntries(
    Object.entries(byOperation).flatMap(([name, { total }]) => (total === 0 ? [] : [[name, total]]))
  )
})

/** How long an effect takes, in milliseconds of the clock. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(effect), ([took, value]) => ({ took: Duration.toMillis(took), value }))

describe("with webhook: true", () => {
  inVirtualTime("call sees the end at once, and confirms it with one status", () =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const { took, value } = yield* finish(timed(endpoint.call({ n: 1 }, { webhook: true })))
      assert.deepStrictEqual(value, { n: 1 })
      assert.strictEqual(took, 60_000)
      const { status = 0, ...others } = yield* requests
      assert.deepStrictEqual(others, { run: 1 })
      // Two in case the webhook is lost, one to confirm.
      assert.isAtMost(status, 4)
    }).pipe(provide())
  )

  inVirtualTime("settle, result and watch of the handle do, too, also when the job has ended before", () =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const job = yield* endpoint.run({ n: 1 }, { webhook: true })
      const waits = [job.settle(), Effect.asVoid(job.result())] as const
      const { took } = yield* finish(timed(Effect.all(waits, { concurrency: "unbounded" })))
      assert.strictEqual(took, 60_000)
      const { took: again, value } = yield* finish(timed(job.settle()))
      assert.strictEqual(again, 0)
      assert.strictEqual(value.status, "COMPLETED")
    }).pipe(provide())
  )

  inVirtualTime("trusting the body, nothing is asked", () =>
    Effect.gen(function* () {
      const endpoint = yield* make("quick")
      const value = yield* finish(endpoint.call({ n: 2 }, { webhook: true, trustWebhook: true }))
      assert.deepStrictEqual(value, { n: 2 })
      assert.deepStrictEqual(yield* requests, { run: 1 })
    }).pipe(provide())
  )

  inVirtualTime("another process listens for a job by its id", () =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const { id } = yield* endpoint.run({ n: 1 }, { webhook: true })
      const waits = [
        timed(endpoint.attach(id).settle({ webhook: true })),
        timed(Jobs.settle("ep", id, { webhook: true, trustWebhook: true }))
      ]
      const ends = yield* finish(Effect.all(waits, { concurrency: "unbounded" }))
      assert.deepStrictEqual(
        ends.map(({ took, value }) => [took, value.status]),
        [
          [60_000, "COMPLETED"],
          [60_000, "COMPLETED"]
        ]
      )
    }).pipe(provide())
  )

  inVirtualTime("a base URL is what the URL is issued from; RunPod posts there", () =>
    Effect.gen(function* () {
      const urls: Array<string> = []
      const deliver: Emulator.Deliver = ({ url }) => Effect.sync(() => urls.push(url) && 200)
      yield* Effect.gen(function* () {
        const endpoint = yield* make("quick")
        yield* endpoint.run({ n: 1 }, { webhook: "https://relay.example/in?to=us" })
        yield* VirtualTime.advance("1 second")
        const bad = yield* Effect.flip(endpoint.run({ n: 1 }, { webhook: "relay" }))
        assert.strictEqual(bad._tag, "BadRequestError")
        const taken = yield* Effect.flip(endpoint.run({ n: 1 }, { webhook: "https://relay.example/?token=mine" }))
        assert.strictEqual(taken._tag, "BadRequestError")
        assert.include(taken.message, "has a `token` in its query")
        assert.notInclude(taken.message, "mine")
      }).pipe(provide({ deliver }))
      assert.strictEqual(urls.length, 1)
      assert.match(urls[0] ?? "", /^https:\/\/relay\.example\/in\?to=us&token=v1\./)
    })
  )

  inVirtualTime("a false word costs one status, and the wait goes on", () =>
    Effect.gen(function* () {
      const { issue, receive } = yield* Webhooks.Webhooks
      const endpoint = yield* make()
      const job = yield* endpoint.run({ n: 1 }, { webhook: true })
      const waiting = yield* Effect.fork(timed(job.result()))
      yield* VirtualTime.advance("1 second")
      // Somebody who has seen a URL tells that the job has ended.
      const url = yield* issue({ endpointId: "ep", key: "seen" })
      yield* receive({ url, body: JSON.stringify({ id: job.id, status: "COMPLETED", output: { n: 666 } }) })
      yield* VirtualTime.advance("5 minutes")
      const { took, value } = yield* Fiber.join(waiting)
      assert.deepStrictEqual(value, { n: 1 })
      assert.isAtMost(took, 67_000)
    }).pipe(provide())
  )

  inVirtualTime("after a retry the webhook of the first run is old", () =>
    Effect.gen(function* () {
      let runs = 0
      const handler = () =>
        Effect.suspend(() =>
          ++runs === 1 ? Effect.fail("first") : Effect.delay(Effect.succeed({ n: runs }), "9 seconds")
        )
      yield* Effect.gen(function* () {
        const endpoint = yield* make()
        const job = yield* endpoint.run({ n: 1 }, { webhook: true })
        const first = yield* finish(job.settle({ trustWebhook: true }), "1 second")
        assert.strictEqual(first.status, "FAILED")
        yield* job.retry
        const second = yield* finish(timed(job.settle({ trustWebhook: true })))
        assert.deepStrictEqual([second.value.status, second.took], ["COMPLETED", 9000])
      }).pipe(provide({ endpoints: { ep: { handler } } }))
    })
  )
})

describe("without the service", () => {
  const alone = Effect.provide(Emulator.layerRunPod(options))

  inVirtualTime("webhook: true is refused before anything is sent", () =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const job = endpoint.attach("some-job")
      for (const attempt of [
        endpoint.run({ n: 1 }, { webhook: true }),
        endpoint.call({ n: 1 }, { webhook: true }),
        endpoint.runSync({ n: 1 }, { webhook: true }),
        job.settle({ webhook: true }),
        job.result({ webhook: true }),
        Jobs.settle("ep", "some-job", { webhook: true })
      ]) {
        const error = yield* Effect.flip(
          attempt as Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>
        )
        assert.strictEqual(error._tag, "BadRequestError")
        assert.include(error.message, "Webhooks")
      }
      assert.deepStrictEqual(yield* requests, {})
    }).pipe(alone)
  )

  inVirtualTime("a URL is posted to as it stands", () =>
    Effect.gen(function* () {
      const urls: Array<string> = []
      yield* Effect.gen(function* () {
        const endpoint = yield* make("quick")
        yield* endpoint.run({ n: 1 }, { webhook: new URL("https://app.example/mine?token=my-own") })
        yield* VirtualTime.advance("1 second")
      }).pipe(
        Effect.provide(
          Emulator.layerRunPod({ ...options, deliver: ({ url }) => Effect.sync(() => urls.push(url) && 200) })
        )
      )
      assert.deepStrictEqual(urls, ["https://app.example/mine?token=my-own"])
    })
  )
})

describe("many jobs of different lengths", () => {
  const handler: Emulator.Handler = ({ n }) => Effect.delay(Effect.succeed({ n }), Number(n) * 2_000)

  /** Submits them, waits for all, and says how long after its job's end each wait ended. */
  const run = (faults: ReadonlyArray<Emulator.Fault.Fault>, count = 30) =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const emulator = yield* Emulator.Emulator
      const received: Array<string> = []
      const waits = Effect.forEach(
        Array.from({ length: count }, (_, n) => n),
        (n) =>
          Effect.gen(function* () {
            const job = yield* endpoint.run({ n }, { webhook: true })
            const ended = yield* job.settle()
            const { finishedAt = NaN } = (yield* emulator.jobs("ep")).find(({ id }) => id === job.id) ?? {}
            received.push(job.id)
            return { n, output: ended.output, lag: (yield* Clock.currentTimeMillis) - finishedAt }
          }),
        { concurrency: "unbounded" }
      )
      const results = yield* finish(waits, "20 minutes")
      // What else of the last deliveries is still to come.
      yield* VirtualTime.advance("1 minute")
      assert.deepStrictEqual(
        results.map(({ output }) => output),
        results.map(({ n }) => ({ n }))
      )
      const { submitted } = yield* emulator.counts
      assert.strictEqual(submitted, count)
      return {
        lag: Math.max(...results.map(({ lag }) => lag)),
        sum: results.reduce((sum, { lag }) => sum + lag, 0),
        deliveries: yield* emulator.deliveries,
        requests: yield* requests
      }
    }).pipe(provide({ faults, endpoints: { ep: { workers: 1000, handler } } }))

  inVirtualTime("all delivered: each is seen at its end", () =>
    Effect.gen(function* () {
      const { lag, requests } = yield* run([])
      assert.strictEqual(lag, 0)
      // They take 29 s on average: that is about one poll in case, and one to confirm.
      assert.isAtMost(requests["status"] ?? 0, 75)
      assert.isUndefined(requests["statusSync"])
    })
  )

  inVirtualTime("all lost: each is seen within 35 s of its end", () =>
    Effect.gen(function* () {
      const { deliveries, lag, requests } = yield* run([Fault.webhookLost()])
      assert.isTrue(deliveries.every(({ status }) => status === undefined))
      assert.isAtMost(lag, 35_000)
      assert.isAtLeast(lag, 1_000)
      assert.isAtMost(requests["status"] ?? 0, 75)
    })
  )

  inVirtualTime("all lost, and a tenth of the polls fail: still within 35 s", () =>
    Effect.gen(function* () {
      const { lag } = yield* run([
        Fault.webhookLost(),
        Fault.serverError({ operations: ["status"], rate: 0.05 }),
        Fault.resetAfter({ operations: ["status"], rate: 0.05 })
      ])
      assert.isAtMost(lag, 35_000)
    })
  )

  inVirtualTime("all doubled: every result once, nothing asked twice", () =>
    Effect.gen(function* () {
      const { deliveries, lag, requests } = yield* run([Fault.webhookDuplicated({ copies: 3, gap: "1 second" })])
      assert.strictEqual(deliveries.length, 90)
      assert.isTrue(deliveries.every(({ status }) => status === 200))
      assert.strictEqual(lag, 0)
      assert.isAtMost(requests["status"] ?? 0, 75)
    })
  )

  inVirtualTime("late, out of order, some lost, some doubled: every result, within 35 s", () =>
    Effect.gen(function* () {
      const { lag } = yield* run([
        Fault.webhookLate({ by: "2 minutes", rate: 0.3 }),
        Fault.webhookOutOfOrder({ behind: 5, rate: 0.3 }),
        Fault.webhookLost({ rate: 0.2 }),
        Fault.webhookDuplicated({ rate: 0.2 })
      ])
      assert.isAtMost(lag, 35_000)
    })
  )
})

describe("the most that wait at once", () => {
  inVirtualTime(
    "5,000 by the documented limits: 250 by a twentieth of them, all webhooks lost, are seen within 35 s",
    () =>
      Effect.gen(function* () {
        const endpoint = yield* make()
        const count = 250
        const results = yield* finish(
          Effect.forEach(
            Array.from({ length: count }, (_, n) => n),
            (n) => timed(endpoint.call({ n }, { webhook: true })),
            { concurrency: "unbounded" }
          ),
          "5 minutes"
        )
        assert.deepStrictEqual(
          results.map(({ value }) => value.n),
          Array.from({ length: count }, (_, n) => n)
        )
        // All jobs take 45 s.
        assert.isAtMost(Math.max(...results.map(({ took }) => took)), 80_000)
        const { counts } = yield* Emulator.Emulator
        assert.strictEqual((yield* counts).rateLimited, 0)
      }).pipe(
        provide({
          faults: [Fault.webhookLost()],
          endpoints: { ep: { workers: 1000, execution: "45 seconds" } },
          limits: twentieth,
          client: { limits: twentieth }
        })
      )
  )
})

describe("events", () => {
  inVirtualTime("all doubled: every event once", () =>
    Effect.gen(function* () {
      const { eventsSince } = yield* Webhooks.Webhooks
      const endpoint = yield* make("quick")
      const ids = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, n) => ({ n })),
        (input) => Effect.map(endpoint.run(input, { webhook: true }), ({ id }) => id)
      )
      yield* VirtualTime.advance("1 minute")
      const events = yield* finish(Stream.runCollect(Stream.interruptAfter(eventsSince(0), "1 second")))
      assert.sameMembers(Chunk.toArray(Chunk.map(events, ({ job }) => job.id)), ids)
      assert.strictEqual(events.length, 50)
    }).pipe(provide({ faults: [Fault.webhookDuplicated()] }))
  )
})

describe("a submit whose reply was lost", () => {
  const lost = Fault.resetAfter({ operations: ["run"] })

  inVirtualTime("is adopted when its webhook arrives: run gives a handle, call the result", () =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const called = yield* finish(timed(endpoint.call({ n: 1 }, { webhook: true })))
      assert.deepStrictEqual(called, { took: 60_000, value: { n: 1 } })
      const job = yield* finish(endpoint.run({ n: 2 }, { webhook: true }))
      assert.deepStrictEqual(yield* finish(job.result()), { n: 2 })
      const { counts } = yield* Emulator.Emulator
      assert.strictEqual((yield* counts).submitted, 2)
    }).pipe(provide({ faults: [lost] }))
  )

  inVirtualTime("is adopted although the webhook was there before the client knew", () =>
    Effect.gen(function* () {
      const endpoint = yield* make("quick")
      const called = yield* finish(timed(endpoint.call({ n: 1 }, { webhook: true })))
      assert.deepStrictEqual(called.value, { n: 1 })
    }).pipe(provide({ faults: [Fault.hang({ operations: ["run"], processed: true })] }))
  )

  inVirtualTime("a failed job is adopted with its error", () =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const error = yield* finish(Effect.flip(endpoint.call({ n: 1 }, { webhook: true })))
      assert.strictEqual(error._tag, "JobFailedError")
    }).pipe(provide({ faults: [lost], endpoints: { ep: { handler: () => Effect.fail("out of memory") } } }))
  )

  const gone = [lost, Fault.webhookLost()]

  inVirtualTime("without a webhook it is ambiguous after adoptWithin, 15 minutes by default", () =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const ambiguous = (effect: Effect.Effect<unknown, { readonly _tag: string }>) =>
        finish(timed(Effect.flip(effect)), "1 hour")
      for (const [attempt, after] of [
        [endpoint.run({ n: 1 }, { webhook: true }), 900_000],
        [endpoint.call({ n: 1 }, { webhook: true }), 900_000],
        [endpoint.call({ n: 1 }, { webhook: true, adoptWithin: "1 minute" }), 60_000],
        [endpoint.call({ n: 1 }, { webhook: true, timeout: "10 seconds" }), 10_000],
        [endpoint.run({ n: 1 }), 0]
      ] as const) {
        const { took, value } = yield* ambiguous(attempt)
        assert.strictEqual(value._tag, "SubmitAmbiguousError")
        assert.approximately(took, after, 50)
      }
      const { counts } = yield* Emulator.Emulator
      assert.strictEqual((yield* counts).submitted, 5)
    }).pipe(provide({ faults: gone }))
  )

  inVirtualTime("interrupting the adoption ends it at once", () =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const fiber = yield* Effect.fork(endpoint.call({ n: 1 }, { webhook: true }))
      yield* VirtualTime.advance("10 seconds")
      const { took } = yield* timed(Fiber.interrupt(fiber))
      assert.strictEqual(took, 0)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(fiber)))
    }).pipe(provide({ faults: gone }))
  )

  inVirtualTime("30 % lost replies: every job's result arrives, and none is submitted twice", () =>
    Effect.gen(function* () {
      const endpoint = yield* make()
      const calls = Effect.forEach(
        Array.from({ length: 120 }, (_, n) => n),
        (n) => endpoint.call({ n }, { webhook: true }),
        { concurrency: 60 }
      )
      const outputs = yield* finish(calls, "1 hour")
      assert.deepStrictEqual(
        outputs,
        outputs.map((_, n) => ({ n }))
      )
      const { counts } = yield* Emulator.Emulator
      const { faults, submitted } = yield* counts
      assert.strictEqual(submitted, 120)
      assert.isAbove(faults.ResetAfter ?? 0, 20)
    }).pipe(
      provide({
        faults: [Fault.resetAfter({ operations: ["run"], rate: 0.3 })],
        endpoints: {
          ep: {
            workers: 1000,
            handler: ({ n }) => Effect.delay(Effect.succeed({ n }), `${1 + (Number(n) % 5)} seconds`)
          }
        }
      })
    )
  )
})
