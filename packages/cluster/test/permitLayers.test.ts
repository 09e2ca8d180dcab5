/** Layers of `RunPod` that share one budget, as processes would, against one emulator over HTTP. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { Endpoint, RateLimits } from "effect-runpod"
import { NodeEmulator, NodeRunPod } from "effect-runpod/Node"
import { PermitStore, Redis } from "effect-runpod-cluster"
import { stores } from "./support/permitStores.js"
import { request } from "./support/requests.js"

const Numbered = Schema.Struct({ n: Schema.Number })
const [limit, window] = [40, 800]
/** What RunPod's windows are shorter than ours: a machine that does much else sends late. */
const margin = 300

describe("permits", () => {
  it.scoped("are refused with durations, or an address, that are none", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<Layer.Layer<never, never, PermitStore.PermitStore>> = [
        ...[0, NaN, -1, Infinity].map((ttl) => PermitStore.layerPermits({ ttl })),
        ...[NaN, -1, Infinity].map((hold) => PermitStore.layerPermits({ hold })),
        Redis.layerStore({ url: "redis://127.0.0.1", settle: Infinity }),
        ...["redis://:secret@127.0.0.1/x", "redis://:%E0secret@127.0.0.1", "127.0.0.1", "http://127.0.0.1"].map((url) =>
          Redis.layerStore({ url })
        )
      ]
      for (const layer of wrong) {
        const exit = yield* Effect.exit(Layer.build(Layer.provide(layer, PermitStore.layerMemory)))
        const [defect] = Exit.isFailure(exit) ? Cause.defects(exit.cause) : []
        assert.instanceOf(defect, RangeError)
        assert.notInclude(String(defect), "secret")
      }
    })
  )
})

for (const { name, shared } of stores) {
  describe(`layers with one budget in ${name}`, () => {
    it.scopedLive(
      "are never refused, and nearly as fast as one",
      () =>
        Effect.gen(function* () {
          const { open } = yield* shared
          const server = yield* NodeEmulator.serve({
            endpoints: { ep: { workers: 200, execution: "10 millis", coldStart: 0 } },
            limits: RateLimits.make({ run: { limit, window: window - margin, concurrency: 12 } })
          })
          const pools = new Set<string>()
          const count = 50
          const layer = Effect.gen(function* () {
            const own = yield* open
            const store: PermitStore.Service = {
              lease: (request) => {
                if (request.window?.limit === limit) pools.add(request.pool)
                return own.lease(request)
              }
            }
            const permits = PermitStore.layerPermits().pipe(
              Layer.provide(Layer.succeed(PermitStore.PermitStore, store))
            )
            const limits = RateLimits.make({ run: { limit, window, concurrency: 12 } })
            return NodeRunPod.layer({ apiKey: "key", baseUrl: server.url, limits }).pipe(Layer.provide(permits))
          })
          const submitAll = Effect.gen(function* () {
            const ep = yield* Endpoint.make("ep", { input: Numbered, output: Numbered })
            const inputs = Array.from({ length: count }, (_, n) => ({ n }))
            yield* Effect.forEach(inputs, (input) => ep.run(input), { concurrency: "unbounded", discard: true })
          })
          const start = performance.now()
          yield* Effect.forEach([1, 2, 3], () => Effect.flatMap(layer, (layer) => Effect.provide(submitAll, layer)), {
            concurrency: "unbounded",
            discard: true
          })
          const took = performance.now() - start
          const { byOperation, submitted } = yield* server.counts
          assert.strictEqual(submitted, 3 * count)
          assert.deepStrictEqual(byOperation.run.byStatus, { 200: 3 * count })
          assert.isAtMost(byOperation.run.maxInFlight, 12)
          // Four windows, of which the last is not waited for.
          assert.isAtLeast(took, 3 * window - 50)
          assert.isAtMost(took, 3 * window + 3_000)
          // The layers have closed, and given back what they had.
          const store = yield* open
          for (const pool of pools) {
            const lease = yield* store.lease(
              request({ pool, holder: "new", window: undefined, places: 12, demand: 20 })
            )
            assert.deepInclude(lease, { places: 12, holders: 1 })
          }
        }),
      30_000
    )

    it.scopedLive(
      "lose no place to requests that are interrupted",
      () =>
        Effect.gen(function* () {
          const { open } = yield* shared
          const server = yield* NodeEmulator.serve({
            endpoints: { ep: { workers: 200, execution: "10 millis", coldStart: 0 } }
          })
          const store = yield* open
          const inFlight = new Map<string, number>()
          const observed: PermitStore.Service = {
            lease: (request) => {
              // After the last request: what it may fill is what it uses.
              inFlight.set(request.pool, request.demand)
              return store.lease(request)
            }
          }
          const permits = PermitStore.layerPermits().pipe(
            Layer.provide(Layer.succeed(PermitStore.PermitStore, observed))
          )
          const limits = RateLimits.make({ run: { limit: 100_000, window: 500, concurrency: 8 } })
          const runPod = NodeRunPod.layer({ apiKey: "key", baseUrl: server.url, limits }).pipe(Layer.provide(permits))
          yield* Effect.gen(function* () {
            const ep = yield* Endpoint.make("ep", { input: Numbered, output: Numbered })
            for (let storm = 0; storm < 12; storm++) {
              const fibers = yield* Effect.forEach(Array.from({ length: 30 }), (_, n) => Effect.fork(ep.run({ n })))
              yield* Effect.sleep(storm * 3)
              yield* Effect.forEach(fibers, Fiber.interruptFork)
              yield* Effect.forEach(fibers, Fiber.await, { concurrency: "unbounded" })
            }
            // All eight places are there.
            const inputs = Array.from({ length: 40 }, (_, n) => ({ n }))
            yield* Effect.forEach(inputs, (input) => ep.run(input), { concurrency: "unbounded", discard: true })
            yield* Effect.sleep(4_500)
            assert.isAtLeast(inFlight.size, 1)
            for (const demand of inFlight.values()) assert.strictEqual(demand, 0)
          }).pipe(Effect.provide(runPod))
        }),
      30_000
    )
  })
}
