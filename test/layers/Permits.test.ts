/** What a layer of `RunPod` asks of a budget that processes share. */
import * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import { useObserver, withDeadline } from "../../src/internal/http/requestOptions.js"
import * as Permits from "../../src/layers/Permits.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import type { AttemptObserver } from "../../src/layers/RunPodHttpClient.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

const observed = <A, E, R>(effect: Effect.Effect<A, E, R>, observer: AttemptObserver) =>
  Effect.zipRight(useObserver(observer), effect)

/** A budget that has whatever is asked for; `another` is how long another start takes, in milliseconds. */
const makePermits = (another = 0) => {
  const counts = { taken: 0, another: 0, released: 0 }
  const pools: Array<Permits.PoolOptions> = []
  const pool: Permits.Pool = {
    hasRoom: () => true,
    tryTake: () => counts.taken++ >= 0,
    start: Effect.suspend(() => {
      counts.another++
      return Effect.sleep(another)
    }),
    ready: () => Effect.void,
    keepPlace: () => undefined,
    release: () => void counts.released++
  }
  const service: Permits.Service = {
    pool: (options) => {
      pools.push(options)
      return pool
    }
  }
  return { counts, pools, layer: Layer.succeed(Permits.Permits, service) }
}

/** An observer that keeps an attempt for so many milliseconds, as a journal does whose database is slow. */
const keeping = (millis: number): AttemptObserver => ({
  onQueued: () => true,
  onSend: Effect.as(Effect.sleep(millis), true),
  onRefused: () => Effect.void
})

const submit = Effect.flatMap(RunPod.RunPod, (runPod) => runPod.run("ep", { input: { n: 1 } }))

describe("a layer with permits", () => {
  const answers = [Scripted.json({ id: "job-1", status: "IN_QUEUE" })]
  const setUp = (options: { readonly another?: number; readonly limits?: RateLimits.RateLimits } = {}) => {
    const permits = makePermits(options.another)
    const scripted = Scripted.make(answers)
    const { limits } = options
    const layer = RunPod.layer({ apiKey: "rpa_KEY", baseUrl: "https://api.test/v2", ...(limits && { limits }) }).pipe(
      Layer.provide(Layer.merge(Layer.succeed(HttpClient.HttpClient, scripted.client), permits.layer))
    )
    return { ...permits, asked: scripted.asked, layer }
  }

  it.effect("asks for one pool for each operation and endpoint, by key, base URL and limit", () =>
    Effect.gen(function* () {
      const { counts, layer, pools } = setUp()
      yield* Effect.gen(function* () {
        yield* submit
        yield* submit
        const runPod = yield* RunPod.RunPod
        yield* runPod.run("other", { input: { n: 1 } })
        // RunPod documents no limit for it.
        yield* Effect.ignore(runPod.health("ep"))
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual(
        pools.map(({ apiKey, baseUrl, limit, name }) => [Redacted.value(apiKey), baseUrl, name, limit.limit]),
        [
          ["rpa_KEY", "https://api.test/v2", "run ep", 1_000],
          ["rpa_KEY", "https://api.test/v2", "run other", 1_000]
        ]
      )
      assert.notInclude(JSON.stringify(pools), "rpa_KEY")
      assert.deepStrictEqual(counts, { taken: 3, another: 0, released: 3 })
    })
  )

  it.effect("asks for none without limits", () =>
    Effect.gen(function* () {
      const { layer, pools } = setUp({ limits: RateLimits.unlimited })
      yield* Effect.provide(submit, layer)
      assert.lengthOf(pools, 0)
    })
  )

  it.effect(
    "takes another start for a request that its observer has kept for half of its window, before it is sent",
    () =>
      Effect.gen(function* () {
        const { asked, counts, layer } = setUp({ another: 2_000 })
        yield* finish(observed(submit, keeping(5_010)).pipe(Effect.provide(layer)))
        assert.strictEqual(counts.another, 0)
        const kept = yield* Effect.fork(observed(submit, keeping(5_011)).pipe(Effect.provide(layer)))
        yield* TestClock.adjust(5_011)
        assert.strictEqual(counts.another, 1)
        yield* TestClock.adjust(1_999)
        assert.lengthOf(asked, 1)
        yield* TestClock.adjust(1)
        yield* Fiber.join(kept)
        assert.lengthOf(asked, 2)
        assert.deepInclude(counts, { taken: 2, released: 2 })
      })
  )

  it.effect("does not send a request whose deadline has passed while it waited for another start", () =>
    Effect.gen(function* () {
      const { asked, counts, layer } = setUp({ another: 2_000 })
      const kept = observed(withDeadline(submit, 6_000), keeping(5_500))
      const error = yield* finish(Effect.flip(kept).pipe(Effect.provide(layer)))
      assert.deepInclude(error, { _tag: "RequestTimeoutError", sent: "No" })
      assert.lengthOf(asked, 0)
      assert.strictEqual(counts.released, counts.taken)
    })
  )
})
