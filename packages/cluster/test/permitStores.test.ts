/** What each store of permits grants, by itself and to layers of `RunPod`. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck, Layer, Redacted, type Scope } from "effect"
import { RateLimits } from "effect-runpod"
import { PermitStore } from "effect-runpod-cluster"
import { leaseIn, noState } from "../src/internal/permits/lease.js"
import { type Grant, mostWithin, noting, type Shared, stores } from "./support/permitStores.js"
import { request } from "./support/requests.js"

const block = (id: number, count: number): PermitStore.Block => ({ id, count, age: 0 })

const infinite = (n: number) => (n === Infinity ? -1 : n)

for (const { name, shared } of stores) {
  describe(`a store of permits in ${name}`, () => {
    const test = (title: string, body: (shared: Shared) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
      it.scopedLive(title, () => Effect.flatMap(shared, body), 30_000)

    test("gives three holders that ask at once no more than the limit in any span, and nearly that", (shared) =>
      Effect.gen(function* () {
        const [limit, span, length] = [60, 400, 1_900]
        const grants: Array<Grant> = []
        const begin = performance.now()
        yield* Effect.forEach(
          ["a", "b", "c"],
          (holder) =>
            Effect.gen(function* () {
              const store = noting(yield* shared.open, grants)
              for (let id = 1; performance.now() < begin + length; id++) {
                const wanted = block(id, 7)
                const { retryAfter } = yield* store.lease(
                  request({ holder, window: { limit, span }, wanted, demand: 10 })
                )
                yield* Effect.sleep(Math.min(50, Math.ceil(retryAfter)))
              }
            }),
          { concurrency: "unbounded" }
        )
        // Clocks of databases have whole milliseconds.
        assert.isAtMost(mostWithin(grants, span - 2), limit)
        const total = grants.reduce((sum, { count }) => sum + count, 0)
        assert.isAtLeast(total, 3 * limit)
        assert.isAtMost(total, (Math.ceil(length / span) + 1) * limit)
      }))

    test("gives places that are never more than there are, while holders come, go and die", (shared) =>
      Effect.gen(function* () {
        const [places, ttl] = [7, 120]
        const store = yield* shared.open
        /** What each holder may use by what it knows. */
        const parts = new Map<string, { readonly part: number; readonly until: number }>()
        const partOf = (holder: string) => {
          const known = parts.get(holder)
          return known === undefined || known.until <= performance.now() ? 0 : known.part
        }
        let names = 0
        const live = () => Array.from(parts.keys(), partOf).reduce((sum, part) => sum + part, 0)
        yield* Effect.forEach(
          [1, 2, 3, 4],
          (seed) =>
            Effect.gen(function* () {
              let holder = `${++names}`
              for (let i = 0; i < 40; i++) {
                const at = performance.now()
                // It goes with what it has, or dies with it.
                const goes = (i + seed) % 9 === 0
                const demand = goes ? 0 : 1 + ((i * seed * 5) % 11)
                if (goes) parts.delete(holder)
                const { places: part } = yield* store.lease(
                  request({ holder, places, demand, inFlight: partOf(holder), ttl })
                )
                parts.set(holder, { part, until: at + ttl })
                assert.isAtMost(live(), places)
                if ((i + seed) % 13 === 0) holder = `${++names}`
                else yield* Effect.sleep((i * seed) % 17)
              }
            }),
          { concurrency: "unbounded" }
        )
        yield* Effect.sleep(ttl + 20)
        assert.strictEqual((yield* store.lease(request({ holder: "last", places, demand: 20 }))).places, places)
      }))

    /** Rounds in which each holder asks in turn, with what it was told it has; gives what each has at the end of every round. */
    const rounds = (
      store: PermitStore.Service,
      demands: Readonly<Record<string, number>>,
      { count = 3, places }: { readonly count?: number; readonly places: number }
    ) =>
      Effect.gen(function* () {
        const parts: Record<string, number> = {}
        const all: Array<Readonly<Record<string, number>>> = []
        for (let round = 0; round < count; round++) {
          for (const [holder, demand] of Object.entries(demands)) {
            const lease = yield* store.lease(request({ holder, places, demand, inFlight: parts[holder] ?? 0 }))
            parts[holder] = lease.places
            yield* Effect.sleep(2)
          }
          all.push({ ...parts })
        }
        return all
      })

    test("shares places out by demand within two renewals, and leaves the rest to those who want it", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const [before] = yield* rounds(store, { a: 50 }, { places: 10, count: 1 })
        assert.deepStrictEqual(before, { a: 10 })
        // a had all: it tells in the first round, and has less in the second.
        const [, , after] = yield* rounds(store, { a: 50, b: 50 }, { places: 10 })
        assert.deepStrictEqual(after, { a: 5, b: 5 })
        const [, , small] = yield* rounds(store, { a: 50, b: 1 }, { places: 10 })
        assert.deepStrictEqual(small, { a: 9, b: 1 })
        const [, , ends] = yield* rounds(store, { a: 50, b: 0 }, { places: 10 })
        assert.deepStrictEqual(ends, { a: 10, b: 0 })
      }))

    test("gives a holder's places to others when it has said that it knows, not when it is told", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const placesOf = (holder: string, inFlight: number) =>
          Effect.map(store.lease(request({ holder, demand: 50, inFlight })), ({ places }) => places)
        assert.strictEqual(yield* placesOf("a", 0), 10)
        assert.strictEqual(yield* placesOf("b", 0), 0)
        // Until it has this answer, a may fill the ten it has.
        assert.strictEqual(yield* placesOf("a", 10), 5)
        assert.strictEqual(yield* placesOf("b", 0), 0)
        assert.strictEqual(yield* placesOf("a", 7), 5)
        assert.strictEqual(yield* placesOf("b", 0), 3)
        assert.strictEqual(yield* placesOf("a", 5), 5)
        assert.strictEqual(yield* placesOf("b", 3), 5)
      }))

    test("gives each of three holders its turn on two places, whatever it demands", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const all = yield* rounds(store, { a: 50, b: 1, c: 3 }, { places: 2, count: 24 })
        for (const parts of all)
          assert.isAtMost(
            Object.values(parts).reduce((sum, part) => sum + part, 0),
            2
          )
        for (const holder of ["a", "b", "c"]) {
          const turns = all.filter((parts) => (parts[holder] ?? 0) > 0).length
          assert.isAtLeast(turns, 6, `turns of ${holder}`)
        }
      }))

    test("leaves a holder its turn for as long as it needs to get starts, and gives these to those who can use them", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const all = { places: 1, demand: 3, window: { limit: 3, span: 10_000 } }
        const wanted = block(1, 3)
        assert.deepInclude(yield* store.lease(request({ ...all, holder: "a", wanted })), { granted: 3, places: 1 })
        // It has no place, and waits for starts in vain.
        assert.deepInclude(yield* store.lease(request({ ...all, holder: "b", wanted })), { granted: 0, places: 0 })
        // Its turn is over as soon as it asks for none.
        const used = [{ id: 1, count: 0, age: 0 }]
        const more = { ...all, inFlight: 1, unsaved: used }
        assert.deepInclude(yield* store.lease(request({ ...more, holder: "a", wanted: block(2, 3) })), {
          granted: 3,
          places: 1
        })
        assert.deepInclude(yield* store.lease(request({ ...more, holder: "a" })), { places: 0 })
        yield* store.lease(request({ ...all, holder: "a", demand: 3 }))
        assert.deepInclude(yield* store.lease(request({ ...all, holder: "b" })), { places: 1 })
        const asks = request({ ...all, holder: "b", inFlight: 1, wanted })
        assert.deepInclude(yield* store.lease(asks), { granted: 0, places: 1 })
      }))

    test("gives starts to those who have waited for them before others", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const got: Record<string, number> = { a: 0, b: 0, c: 0 }
        // a is always there first.
        for (let i = 0; i < 24; i++) {
          for (const holder of ["a", "b", "c"]) {
            const window = { limit: 2, span: 60 }
            const lease = yield* store.lease(request({ holder, window, wanted: block(i, 2) }))
            got[holder] = (got[holder] ?? 0) + lease.granted
          }
          yield* Effect.sleep(25)
        }
        for (const holder of ["a", "b", "c"]) assert.isAtLeast(got[holder] ?? 0, 3, JSON.stringify(got))
      }))

    test("takes returned starts back, counts those it was not asked for, and knows blocks from each other", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const ask = (options: Partial<PermitStore.Request>) => store.lease(request(options))
        assert.deepInclude(yield* ask({ wanted: block(1, 60) }), { granted: 60, free: 40 })
        assert.deepInclude(yield* ask({ holder: "b", wanted: block(1, 60) }), { granted: 40, free: 0 })
        assert.deepInclude(yield* ask({ unsaved: [{ id: 1, count: 10, age: 0 }] }), { granted: 0, free: 50 })
        const unsaved = [
          { id: 1, count: 10, age: 5 },
          { id: 2, count: 20, age: 5 }
        ]
        assert.deepInclude(yield* ask({ unsaved }), { free: 30 })
        assert.deepInclude(yield* ask({ unsaved }), { free: 30 })
        assert.deepInclude(yield* ask({ wanted: block(3, 100) }), { granted: 30, free: 0 })
        const { retryAfter } = yield* ask({ holder: "c", wanted: block(1, 1) })
        assert.isAtMost(retryAfter, 60_000)
        assert.isAtLeast(retryAfter, 50_000)
      }))

    test("counts a block of its holder for longer when it says so, and no other's", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const ask = (options: Partial<PermitStore.Request>) =>
          store.lease(request({ window: { limit: 100, span: 2_000 }, ...options }))
        assert.deepInclude(yield* ask({ wanted: block(1, 60) }), { granted: 60, free: 40 })
        assert.deepInclude(yield* ask({ holder: "b", wanted: block(1, 40) }), { granted: 40, free: 0 })
        yield* Effect.sleep(300)
        const later = [{ id: 1, count: 60, age: 100 }]
        assert.deepInclude(yield* ask({ unsaved: later }), { free: 0 })
        // Not earlier again.
        assert.deepInclude(yield* ask({ unsaved: [{ id: 1, count: 60, age: 1_900 }] }), { free: 0 })
        const other = yield* ask({ holder: "c", wanted: block(1, 1) })
        // A timer may fire a little early.
        assert.isBelow(other.retryAfter, 1_750)
        yield* Effect.sleep(other.retryAfter + 1)
        // That of b has left, that of the first counts on.
        assert.deepInclude(yield* ask({ holder: "c", wanted: block(2, 1) }), { free: 39 })
        yield* Effect.sleep(500)
        assert.deepInclude(yield* ask({ holder: "c", wanted: block(3, 1) }), { free: 98 })
      }))

    test("counts what was answered earlier than the rest of its block by itself", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const ask = (options: Partial<PermitStore.Request>) =>
          store.lease(request({ window: { limit: 100, span: 1_500 }, ...options }))
        assert.deepInclude(yield* ask({ wanted: block(1, 100) }), { granted: 100, free: 0 })
        yield* Effect.sleep(500)
        const unsaved = [
          { id: 1, count: 30, age: 0 },
          { id: 2, count: 50, age: 450 },
          { id: 3, count: 20, age: 200 }
        ]
        assert.deepInclude(yield* ask({ unsaved }), { free: 0 })
        const first = yield* ask({ holder: "b", wanted: block(1, 1) })
        assert.isAtMost(first.retryAfter, 1_050)
        yield* Effect.sleep(first.retryAfter + 2)
        const second = yield* ask({ holder: "b", wanted: block(2, 51) })
        assert.deepInclude(second, { granted: 50, free: 0 })
        assert.isAtMost(second.retryAfter, 250)
        yield* Effect.sleep(second.retryAfter + 2)
        assert.deepInclude(yield* ask({ holder: "b", wanted: block(3, 100) }), { granted: 20, free: 0 })
      }))

    test("has no limit where there is none", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const lease = yield* store.lease(
          request({ window: undefined, places: undefined, wanted: undefined, demand: 9 })
        )
        assert.deepStrictEqual(
          { ...lease },
          { granted: 0, retryAfter: 0, places: Infinity, free: Infinity, holders: 1 }
        )
      }))

    test("decides as `leaseIn` does", (shared) =>
      Effect.gen(function* () {
        const store = yield* shared.open
        const step = FastCheck.record({
          holder: FastCheck.constantFrom("a", "b", "c", "d"),
          wants: FastCheck.option(FastCheck.integer({ min: 1, max: 40 }), { nil: undefined }),
          unsaved: FastCheck.array(
            FastCheck.record({ id: FastCheck.nat(12), count: FastCheck.nat(20), age: FastCheck.nat(50) }),
            {
              maxLength: 2
            }
          ),
          demand: FastCheck.nat(12),
          inFlight: FastCheck.nat(4)
        })
        const runs = FastCheck.sample(
          FastCheck.record({
            places: FastCheck.option(FastCheck.integer({ min: 1, max: 12 }), { nil: undefined }),
            limit: FastCheck.option(FastCheck.integer({ min: 1, max: 120 }), { nil: undefined }),
            steps: FastCheck.array(step, { minLength: 12, maxLength: 12 })
          }),
          { numRuns: 15, seed: 7 }
        )
        for (const [run, { limit, places, steps }] of runs.entries()) {
          let state = noState
          let now = Date.now()
          for (const [i, { demand, holder, inFlight, unsaved, wants }] of steps.entries()) {
            now = Math.max(now + 1, Date.now())
            const asked = request({
              pool: `run ${run}`,
              holder,
              places,
              window: limit === undefined ? undefined : { limit, span: 600_000 },
              wanted: wants === undefined || limit === undefined ? undefined : block(i, wants),
              unsaved: unsaved.filter(({ id }, n) => unsaved.findIndex((other) => other.id === id) === n),
              demand,
              inFlight,
              ttl: 600_000
            })
            const said = yield* store.lease(asked)
            const expected = leaseIn(state, asked, now)
            state = expected.state
            const { retryAfter, ...rest } = expected.lease
            const { retryAfter: actualRetry, ...actual } = said
            assert.deepStrictEqual(
              { ...actual, free: infinite(actual.free), places: infinite(actual.places) },
              { ...rest, free: infinite(rest.free), places: infinite(rest.places) },
              `run ${run}, step ${i}`
            )
            assert.closeTo(actualRetry, retryAfter, 5_000)
            yield* Effect.sleep(1)
          }
        }
      }))

    test("keeps no key: neither in its rows nor in its names", (shared) =>
      Effect.gen(function* () {
        const apiKey = "rpa_SECRETSECRETSECRET"
        const store = Layer.succeed(PermitStore.PermitStore, yield* shared.open)
        const permits = yield* Effect.provide(PermitStore.permits(), store)
        const limit = RateLimits.table.run
        const pool = permits.pool({
          apiKey: Redacted.make(apiKey),
          baseUrl: "https://api.test/v2",
          name: "run ep",
          limit,
          isHeld: false
        })
        yield* pool.ready(() => 1).pipe(Effect.repeat({ until: () => pool.tryTake() }))
        const dump = yield* shared.dump
        assert.notInclude(dump, apiKey)
        assert.notInclude(dump, "api.test")
        if (name !== "memory") assert.match(dump, /[0-9a-f]{32}/)
      }))
  })
}
