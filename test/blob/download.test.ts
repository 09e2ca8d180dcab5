import { assert, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { download, type Open, progressSize } from "../../src/blob/internal/download.js"
import { blobError, transportError } from "../../src/blob/internal/error.js"
import type { From, Opened } from "../../src/blob/internal/store.js"

const where = { operation: "download", location: "k" } as const
const cut = Stream.fail(blobError("Transport", where, "it was cut", { code: "ECONNRESET" }))

/** Pieces of an object of 10 pieces, each full of its place. */
const piece = (place: number) => new Uint8Array(progressSize).fill(place)
const size = 10 * progressSize

/** Each answer gives so many of its pieces and is cut. */
const scripted = (answers: ReadonlyArray<{ readonly pieces: number } & Partial<Opened>>) => {
  const asked: Array<From> = []
  const open: Open = (from) =>
    Effect.sync(() => {
      const { pieces, ...other } = answers[Math.min(asked.length, answers.length - 1)]!
      asked.push(from)
      const first = from.offset / progressSize
      const end = Math.min(10, first + pieces)
      const all = Stream.fromIterable(Array.from({ length: end - first }, (_, n) => piece(first + n)))
      const stream = Stream.concat(all, end === 10 ? Stream.empty : cut)
      return { size, etag: `"1"`, contentType: undefined, isPartial: from.offset > 0, stream, ...other }
    })
  return { asked, open }
}

const read = (open: Open) => readFor("5 minutes", open)

const readFor = (time: Duration.DurationInput, open: Open) =>
  Effect.gen(function* () {
    const read: Array<number> = []
    const all = Stream.runForEach(download(open, where, 30_000), (piece) =>
      Effect.sync(() => read.push(...new Set(piece)))
    )
    const fiber = yield* Effect.fork(Effect.either(all))
    yield* TestClock.adjust(time)
    return [read, yield* Fiber.join(fiber)] as const
  })

const places = (count: number) => Array.from({ length: count }, (_, n) => n)

it.effect("each piece comes once, however often the answers are cut", () =>
  Effect.gen(function* () {
    const { asked, open } = scripted([{ pieces: 3 }, { pieces: 0 }, { pieces: 1 }])
    const [pieces, end] = yield* read(open)
    assert.strictEqual(end._tag, "Right")
    assert.deepStrictEqual(pieces, places(10))
    assert.deepStrictEqual(
      asked.map(({ offset }) => offset / progressSize),
      [0, 3, 3, 4, 5, 6, 7, 8, 9]
    )
    assert.deepStrictEqual([...new Set(asked.map(({ etag }) => etag))], [undefined, `"1"`])
  })
)

it.effect("after five resumes that bring next to nothing it fails", () =>
  Effect.gen(function* () {
    const { asked, open } = scripted([{ pieces: 3 }, { pieces: 0 }])
    const [pieces, end] = yield* read(open)
    assert.deepStrictEqual(pieces, places(3))
    assert(end._tag === "Left")
    assert.strictEqual(end.left.reason, "Transport")
    assert.strictEqual(asked.length, 6)

    let bytes = 0
    const drops = yield* read((from) =>
      Effect.sync(() => {
        const stream = Stream.concat(Stream.make(Uint8Array.of(bytes++)), cut)
        return { size, etag: `"1"`, contentType: undefined, isPartial: from.offset > 0, stream }
      })
    )
    assert.strictEqual(drops[1]._tag, "Left")
    assert.strictEqual(bytes, 6)
  })
)

it.effect("an answer that ends early without an error is resumed like one that was cut", () =>
  Effect.gen(function* () {
    const { open } = scripted([{ pieces: 3, stream: Stream.make(piece(0), piece(1), piece(2)) }, { pieces: 10 }])
    const [pieces, end] = yield* read(open)
    assert.strictEqual(end._tag, "Right")
    assert.deepStrictEqual(pieces, places(10))
  })
)

it.effect("without a strong ETag nothing is resumed: another object could have taken its place", () =>
  Effect.gen(function* () {
    const { asked, open } = scripted([{ pieces: 3, etag: undefined }])
    const [, end] = yield* read(open)
    assert.strictEqual(end._tag, "Left")
    assert.strictEqual(asked.length, 1)
  })
)

it.effect("a server that gives the whole object for a part of it, or another object, is not believed", () =>
  Effect.gen(function* () {
    const whole = scripted([{ pieces: 3 }, { pieces: 10, isPartial: false }])
    const [pieces, end] = yield* read(whole.open)
    assert.deepStrictEqual(pieces, places(3))
    assert(end._tag === "Left")
    assert.deepStrictEqual([end.left.reason, whole.asked.length], ["Incomplete", 2])

    const other = scripted([{ pieces: 3 }, { pieces: 10, etag: `"2"` }])
    const [, changed] = yield* read(other.open)
    assert(changed._tag === "Left")
    assert.deepStrictEqual([changed.left.reason, other.asked.length], ["Changed", 2])
  })
)

it.effect("an answer that stalls is resumed after 30 seconds", () =>
  Effect.gen(function* () {
    const { open } = scripted([
      { pieces: 3, stream: Stream.concat(Stream.make(piece(0)), Stream.never) },
      { pieces: 9 }
    ])
    const [pieces, end] = yield* read(open)
    assert.strictEqual(end._tag, "Right")
    assert.deepStrictEqual(pieces, places(10))
  })
)

it.effect(
  "an answer may take longer than a pause within one, the first and one of a resume; then its silence counts",
  () =>
    Effect.gen(function* () {
      const { asked, open } = scripted([{ pieces: 3 }, { pieces: 9 }])
      const [pieces, end] = yield* read((from) => Effect.delay(open(from), "90 seconds"))
      assert.strictEqual(end._tag, "Right")
      assert.deepStrictEqual(pieces, places(10))
      assert.strictEqual(asked.length, 2)

      const silent = scripted([{ pieces: 0, stream: Stream.never }])
      const [, stalled] = yield* read((from) => Effect.delay(silent.open(from), "1 second"))
      assert(stalled._tag === "Left")
      assert.deepStrictEqual([stalled.left.code, silent.asked.length], ["ETIMEDOUT", 6])
      assert.match(stalled.left.message, /No byte came for 30000 ms/)
    })
)

it.effect("what the store says after all attempts of the client is the error, however long they took", () =>
  Effect.gen(function* () {
    const slowDown = blobError("Throttled", where, "slow down", { status: 503, code: "SlowDown" })
    const [, end] = yield* read(() => Effect.delay(Effect.fail(slowDown), "2 minutes"))
    assert.deepStrictEqual(end, Either.left(slowDown))
  })
)

it.effect("a store that never answers fails a read once, after ten minutes, also in the middle", () =>
  Effect.gen(function* () {
    for (const pieces of [0, 3]) {
      const { asked, open } = scripted([{ pieces: 3 }])
      const [read, end] = yield* readFor("11 minutes", (from) =>
        pieces === 3 && from.offset === 0
          ? open(from)
          : Effect.zipRight(
              Effect.sync(() => asked.push(from)),
              Effect.never
            )
      )
      assert.deepStrictEqual(read, places(pieces))
      assert(end._tag === "Left")
      assert.deepStrictEqual([end.left.reason, end.left.code], ["Transport", "ETIMEDOUT"])
      assert.match(end.left.message, /No answer came for 600000 ms/)
      assert.strictEqual(asked.length, pieces === 0 ? 1 : 2)
    }
  })
)

it.effect("a store that is down for a moment is asked again in the middle of a read, not at its beginning", () =>
  Effect.gen(function* () {
    const refused = Effect.fail(blobError("Transport", where, "nobody is there", { code: "ECONNREFUSED" }))
    const { open } = scripted([{ pieces: 3 }, { pieces: 9 }])
    let failures = 0
    const [pieces, end] = yield* read((from) => (from.offset > 0 && ++failures <= 3 ? refused : open(from)))
    assert.strictEqual(end._tag, "Right")
    assert.deepStrictEqual(pieces, places(10))
    assert.strictEqual((yield* read(() => refused))[1]._tag, "Left")
  })
)

it("a timeout of the client has the code of one, by which a read knows that the wait was for nothing", () => {
  const timeout = Object.assign(new Error("the request socket timed out"), { name: "TimeoutError" })
  assert.strictEqual(transportError(where, timeout, (text) => text).code, "ETIMEDOUT")
})
