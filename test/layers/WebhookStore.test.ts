import * as FileSystem from "@effect/platform/FileSystem"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Exit, type Scope } from "effect"
import type { WebhookStoreError } from "../../src/errors/WebhookError.js"
import * as WebhookStore from "../../src/layers/WebhookStore.js"
import { behavesAsStore, delivery, sequences, traceIn, traceOf } from "../support/storeBehaviours.js"

type Open = (
  options?: WebhookStore.Options
) => Effect.Effect<WebhookStore.Service, WebhookStoreError, FileSystem.FileSystem | Scope.Scope>

const stores: ReadonlyArray<{
  readonly name: string
  readonly open: Effect.Effect<Open, never, FileSystem.FileSystem | Scope.Scope>
}> = [
  { name: "memory", open: Effect.succeed(WebhookStore.memory) },
  {
    name: "file",
    open: Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* Effect.orDie(fs.makeTempDirectoryScoped())
      return (options) => WebhookStore.file(`${folder}/webhooks.jsonl`, { ...options, sync: "never" })
    })
  }
]

const scoped = (effect: Effect.Effect<unknown, unknown, FileSystem.FileSystem | Scope.Scope>) =>
  Effect.provide(Effect.scoped(effect), NodeFileSystem.layer)

for (const { name, open } of stores) {
  behavesAsStore(name, (options, use) => scoped(Effect.flatMap(open, (open) => Effect.flatMap(open(options), use))))
}

describe.each(stores)("a store in $name", ({ open }) => {
  const make = (options?: WebhookStore.Options) => Effect.flatMap(open, (open) => open(options))

  it.effect("remembers where submits stand, of no more tokens than it remembers uses of", () =>
    scoped(
      Effect.gen(function* () {
        const store = yield* make({ maxCount: 2 })
        for (let n = 0; n < 60; n++) yield* store.noteTrace?.(traceOf(n)) ?? Effect.void
        // Twenty are left.
        assert.isUndefined(yield* traceIn(store, 39))
        assert.strictEqual(yield* traceIn(store, 40), "trace 40")
        assert.strictEqual(yield* traceIn(store, 59), "trace 59")
      })
    )
  )

  it.effect("keeps so much, and always the newest", () =>
    scoped(
      Effect.gen(function* () {
        const store = yield* make({ maxBytes: 100 })
        for (const n of [1, 2, 3]) yield* store.add(delivery(n, { body: "x".repeat(40) }))
        assert.deepStrictEqual(sequences(yield* store.after(0, 10)), [2, 3])
        yield* store.add(delivery(4, { body: "x".repeat(500) }))
        assert.deepStrictEqual(sequences(yield* store.after(0, 10)), [4])
      })
    )
  )

  it.effect("keeps nothing for longer than it may", () =>
    scoped(
      Effect.gen(function* () {
        const store = yield* make({ maxAge: "1 hour" })
        yield* store.add(delivery(1, { receivedAt: 0 }))
        yield* store.add(delivery(2, { receivedAt: 3_600_000 }))
        assert.deepStrictEqual(sequences(yield* store.after(0, 10)), [1, 2])
        yield* store.add(delivery(3, { receivedAt: 3_600_001 }))
        assert.deepStrictEqual(sequences(yield* store.after(0, 10)), [2, 3])
      })
    )
  )

  it.effect("forgets what a token was used for when it has expired", () =>
    scoped(
      Effect.gen(function* () {
        const store = yield* make()
        yield* store.add(delivery(1, { expiresAt: 1000 }))
        yield* store.add(delivery(2, { receivedAt: 1001 }))
        assert.strictEqual((yield* store.add(delivery(1, { jobId: "x", receivedAt: 1002 })))._tag, "Stored")
      })
    )
  )
})

describe("a store in a file", () => {
  const make = Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* Effect.orDie(fs.makeTempDirectoryScoped())
    const path = `${folder}/webhooks.jsonl`
    return {
      path,
      fs,
      /** Opens it, and closes it when `use` has ended. */
      during: <A, E, R>(
        use: (store: WebhookStore.Service) => Effect.Effect<A, E, R>,
        options?: WebhookStore.FileOptions
      ) => Effect.scoped(Effect.flatMap(WebhookStore.file(path, options), use))
    }
  })

  it.effect("is found again after a restart: deliveries, numbers, and what tokens were used for", () =>
    scoped(
      Effect.gen(function* () {
        const { during } = yield* make
        yield* during((store) => Effect.forEach([1, 2, 3], (n) => store.add(delivery(n))))
        yield* during((store) =>
          Effect.gen(function* () {
            assert.deepStrictEqual(yield* store.after(1, 10), [
              { ...delivery(2), sequence: 2 },
              { ...delivery(3), sequence: 3 }
            ])
            assert.strictEqual(yield* store.latest, 3)
            assert.deepStrictEqual(yield* store.add(delivery(1)), { _tag: "Duplicate" })
            assert.deepStrictEqual(yield* store.add(delivery(1, { jobId: "x" })), { _tag: "Replayed" })
            assert.deepStrictEqual(yield* store.add(delivery(4)), { _tag: "Stored", sequence: 4 })
          })
        )
      })
    )
  )

  it.effect("knows after a restart where submits stand, and its file does not grow with those it has forgotten", () =>
    scoped(
      Effect.gen(function* () {
        const { during, fs, path } = yield* make
        yield* during(
          (store) =>
            Effect.forEach(Array.from({ length: 2_000 }), (_, n) => store.noteTrace?.(traceOf(n)) ?? Effect.void),
          { maxCount: 2, sync: "never" }
        )
        assert.isBelow((yield* fs.readFileString(path)).split("\n").length, 1_500)
        assert.strictEqual(yield* during((store) => traceIn(store, 1_999)), "trace 1999")
      })
    )
  )

  it.effect("a torn last line is no delivery", () =>
    scoped(
      Effect.gen(function* () {
        const { during, fs, path } = yield* make
        yield* during((store) => Effect.forEach([1, 2], (n) => store.add(delivery(n))))
        const text = yield* fs.readFileString(path)
        yield* fs.writeFileString(path, text.slice(0, -20))
        yield* during((store) =>
          Effect.gen(function* () {
            assert.deepStrictEqual(sequences(yield* store.after(0, 10)), [1])
            // It was not acknowledged, so it comes again.
            assert.strictEqual((yield* store.add(delivery(2)))._tag, "Stored")
          })
        )
      })
    )
  )

  it.effect("a line that is no delivery is refused with its place", () =>
    scoped(
      Effect.gen(function* () {
        const { during, fs, path } = yield* make
        yield* during((store) => store.add(delivery(1)))
        yield* fs.writeFileString(path, `{"sequence":"two"}\n`, { flag: "a" })
        const error = yield* Effect.flip(during(() => Effect.void))
        assert.strictEqual(error._tag, "WebhookStoreError")
        assert.include(error.message, "line 3")
        assert.include(error.message, path)
      })
    )
  )

  it.effect("a second process is refused, and `force` overrides", () =>
    scoped(
      Effect.gen(function* () {
        const { during } = yield* make
        yield* during(() =>
          Effect.gen(function* () {
            const second = yield* Effect.either(during(() => Effect.void))
            assert.isTrue(Either.isLeft(second))
            yield* during(() => Effect.void, { force: true })
          })
        )
      })
    )
  )

  it.effect("is compacted, and nothing that counts is lost by it", () =>
    scoped(
      Effect.gen(function* () {
        const { during, fs, path } = yield* make
        const options = { maxCount: 10, sync: "never" } as const
        yield* during(
          (store) =>
            Effect.forEach(
              Array.from({ length: 3000 }, (_, n) => n + 1),
              (n) => store.add(delivery(n, { expiresAt: n + 100 })),
              { discard: true }
            ),
          options
        )
        const lines = (yield* fs.readFileString(path)).split("\n").length
        assert.isBelow(lines, 2500)
        yield* during(
          (store) =>
            Effect.gen(function* () {
              assert.strictEqual(yield* store.latest, 3000)
              assert.deepStrictEqual(sequences(yield* store.after(0, 100)), [
                ...[2991, 2992, 2993, 2994, 2995, 2996, 2997, 2998, 2999, 3000]
              ])
              const again = delivery(2999, { jobId: "x", expiresAt: 3099, receivedAt: 3001 })
              assert.strictEqual((yield* store.add(again))._tag, "Replayed")
            }),
          options
        )
      })
    )
  )

  it.effect("a write that fails is an error, not an acknowledgement, and is tried again with the next", () =>
    scoped(
      Effect.gen(function* () {
        const { fs, path } = yield* make
        let isFull = false
        const full: FileSystem.FileSystem = {
          ...fs,
          open: (path, options) =>
            Effect.map(fs.open(path, options), (file) => {
              const writeAll: typeof file.writeAll = (bytes) =>
                isFull ? Effect.flatMap(fs.readFile(`${path}/no`), () => Effect.void) : file.writeAll(bytes)
              return Object.create(file, { writeAll: { value: writeAll } }) as typeof file
            })
        }
        const exit = yield* Effect.exit(
          Effect.gen(function* () {
            const store = yield* WebhookStore.file(path)
            yield* store.add(delivery(1))
            isFull = true
            const error = yield* Effect.flip(store.add(delivery(2)))
            assert.strictEqual(error._tag, "WebhookStoreError")
            assert.strictEqual(error.operation, "add")
            isFull = false
            assert.strictEqual((yield* store.add(delivery(2)))._tag, "Stored")
            assert.strictEqual((yield* store.after(0, 10)).length, 2)
          }).pipe(Effect.scoped, Effect.provideService(FileSystem.FileSystem, full))
        )
        assert.deepStrictEqual(exit, Exit.void)
      })
    )
  )
})
