/** What every store of webhooks does, wherever it keeps them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import type { WebhookStoreError } from "../../src/errors/WebhookError.js"
import type * as WebhookStore from "../../src/layers/WebhookStore.js"

const day = 24 * 3_600_000

export const delivery = (n: number, fields: Partial<WebhookStore.Delivery> = {}): WebhookStore.Delivery => ({
  token: `token ${n}`,
  expiresAt: 10 * day,
  endpointId: "ep",
  key: `key ${n}`,
  jobId: `job ${n}`,
  outcome: "COMPLETED 1 2",
  receivedAt: n,
  body: `{"id":"job ${n}","status":"COMPLETED"}`,
  ...fields
})

export const traceOf = (n: number): WebhookStore.TokenTrace => ({
  token: `token ${n}`,
  trace: `trace ${n}`,
  expiresAt: 1e15
})

export const traceIn = ({ traceOf = () => Effect.succeedNone }: WebhookStore.Service, n: number) =>
  Effect.map(traceOf(`token ${n}`), Option.getOrUndefined)

export const sequences = (stored: ReadonlyArray<WebhookStore.Stored>) => stored.map(({ sequence }) => sequence)

/** Opens a store of its own, and closes it at the end of `use`. */
export type With = (
  options: Pick<WebhookStore.Options, "maxCount"> | undefined,
  use: (store: WebhookStore.Service) => Effect.Effect<void, WebhookStoreError>
) => Effect.Effect<unknown, unknown>

export const behavesAsStore = (name: string, withStore: With) => {
  describe(`a store in ${name}`, () => {
    const test = (
      title: string,
      use: (store: WebhookStore.Service) => Effect.Effect<void, WebhookStoreError>,
      options?: Pick<WebhookStore.Options, "maxCount">
    ) => it.live(title, () => withStore(options, use), 30_000)

    test("numbers deliveries from 1 and gives them back", (store) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* store.latest, 0)
        assert.deepStrictEqual(yield* store.add(delivery(1)), { _tag: "Stored", sequence: 1 })
        assert.deepStrictEqual(yield* store.add(delivery(2)), { _tag: "Stored", sequence: 2 })
        assert.strictEqual(yield* store.latest, 2)
        assert.deepStrictEqual(yield* store.after(0, 10), [
          { ...delivery(1), sequence: 1 },
          { ...delivery(2), sequence: 2 }
        ])
        assert.deepStrictEqual(sequences(yield* store.after(1, 10)), [2])
        assert.deepStrictEqual(sequences(yield* store.after(0, 1)), [1])
        assert.deepStrictEqual(yield* store.after(2, 10), [])
      }))

    test("the same end of a job under its token is a duplicate", (store) =>
      Effect.gen(function* () {
        yield* store.add(delivery(1))
        const again = delivery(1, { receivedAt: 5, body: "{}" })
        assert.deepStrictEqual(yield* store.add(again), { _tag: "Duplicate" })
        assert.deepStrictEqual(sequences(yield* store.after(0, 10)), [1])
      }))

    test("another job under a used token is a replay", (store) =>
      Effect.gen(function* () {
        yield* store.add(delivery(1))
        assert.deepStrictEqual(yield* store.add(delivery(1, { jobId: "another" })), { _tag: "Replayed" })
        const end = delivery(1, { jobId: "another", outcome: "FAILED 1 2" })
        assert.deepStrictEqual(yield* store.add(end), { _tag: "Replayed" })
        assert.isTrue(Option.isNone(yield* store.find({ jobId: "another" })))
      }))

    test("a job that was retried may end again, but not for ever", (store) =>
      Effect.gen(function* () {
        const added = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, n) => `FAILED 1 ${n}`),
          (outcome) => store.add(delivery(1, { outcome }))
        )
        assert.strictEqual(added.filter(({ _tag }) => _tag === "Stored").length, 16)
        assert.strictEqual(added[19]?._tag, "Replayed")
        // What it had said before is still no more than that.
        assert.strictEqual((yield* store.add(delivery(1, { outcome: "FAILED 1 3" })))._tag, "Duplicate")
      }))

    test("of twenty at the same moment under one token, one is stored", (store) =>
      Effect.gen(function* () {
        const added = yield* Effect.all(
          Array.from({ length: 20 }, (_, n) => store.add(delivery(1, n % 2 === 0 ? {} : { jobId: "another" }))),
          { concurrency: "unbounded" }
        )
        const count = (tag: string) => added.filter(({ _tag }) => _tag === tag).length
        assert.deepStrictEqual([count("Stored"), count("Duplicate"), count("Replayed")], [1, 9, 10])
        assert.deepStrictEqual(sequences(yield* store.after(0, 10)), [1])
      }))

    test("many at the same moment are all stored, in the order of their numbers", (store) =>
      Effect.gen(function* () {
        yield* Effect.forEach(
          Array.from({ length: 300 }, (_, n) => n + 1),
          (n) => store.add(delivery(n)),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          sequences(yield* store.after(0, 1000)),
          Array.from({ length: 300 }, (_, n) => n + 1)
        )
      }))

    test("finds the newest delivery that fits", (store) =>
      Effect.gen(function* () {
        const find = (match: WebhookStore.Match) =>
          Effect.map(store.find(match), (found) => Option.getOrUndefined(found)?.sequence)
        yield* store.add(delivery(1, { outcome: "FAILED" }))
        yield* store.add(delivery(1, { outcome: "COMPLETED" }))
        yield* store.add(delivery(3, { endpointId: "other" }))
        yield* store.add(delivery(4, { endpointId: undefined, key: undefined }))
        assert.strictEqual(yield* find({ jobId: "job 1" }), 2)
        assert.strictEqual(yield* find({ key: "key 1" }), 2)
        assert.strictEqual(yield* find({ key: "key 1", jobId: "job 1", endpointId: "ep" }), 2)
        assert.isUndefined(yield* find({ key: "key 1", endpointId: "other" }))
        assert.isUndefined(yield* find({ jobId: "job 1", after: 2 }))
        assert.isUndefined(yield* find({ jobId: "job 2" }))
        assert.strictEqual(yield* find({ key: "key 3", endpointId: "other" }), 3)
        // A relay that brought no token vouches for the job, whatever its key.
        assert.strictEqual(yield* find({ jobId: "job 4", endpointId: "ep" }), 4)
      }))

    test(
      "keeps so many, and drops the oldest first",
      (store) =>
        Effect.gen(function* () {
          for (const n of [1, 2, 3, 4, 5]) yield* store.add(delivery(n))
          assert.deepStrictEqual(sequences(yield* store.after(0, 10)), [3, 4, 5])
          assert.isTrue(Option.isNone(yield* store.find({ jobId: "job 2" })))
          // It still knows that the token was used.
          assert.deepStrictEqual(yield* store.add(delivery(1)), { _tag: "Duplicate" })
          assert.deepStrictEqual(yield* store.add(delivery(1, { jobId: "x" })), { _tag: "Replayed" })
        }),
      { maxCount: 3 }
    )

    test("gives back what it was told of a token's submit", (store) =>
      Effect.gen(function* () {
        assert.isUndefined(yield* traceIn(store, 1))
        for (const n of [1, 2]) yield* store.noteTrace?.(traceOf(n)) ?? Effect.void
        yield* store.noteTrace?.({ ...traceOf(1), trace: "a later one" }) ?? Effect.void
        assert.strictEqual(yield* traceIn(store, 1), "a later one")
        assert.strictEqual(yield* traceIn(store, 2), "trace 2")
      }))
  })
}
