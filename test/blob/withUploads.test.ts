import { assert, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as Blob from "../../src/blob/Blob.js"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Endpoint from "../../src/services/Endpoint.js"

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytes = (text: string) => new TextEncoder().encode(text)

const Input = Schema.Struct({
  image: Blob.Ref,
  masks: Schema.Array(Schema.Struct({ at: Schema.Number, mask: Blob.Ref })),
  note: Schema.optional(Schema.String)
})

/** Its jobs give what they were sent, and of each blob what is in it. */
const setUp = Effect.gen(function* () {
  const context = yield* Layer.build(Blob.layerMemory({ prefix: "in/" }))
  const blob = Context.get(context, Blob.Blob)
  const emulator = Emulator.layerRunPod({
    endpoints: {
      ep: {
        handler: (input) =>
          input["note"] === "fail"
            ? Effect.fail(new Error("no"))
            : Effect.map(blob.bytes(String(input["image"])), (image) => ({ input, image: text(image) })),
        workers: 1
      },
      slow: { execution: "1 hour" }
    }
  })
  return { blob, layer: Layer.merge(emulator, Layer.succeedContext(context)) }
})

const output = Schema.Struct({
  input: Schema.Record({ key: Schema.String, value: Schema.Unknown }),
  image: Schema.String
})

/** Runs an effect while the clock moves on. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust("1 minute")
    return yield* Fiber.join(fiber)
  })

it.scoped(
  "bytes anywhere in an input are uploaded, and their URLs are sent; what is there already is sent as it is",
  () =>
    Effect.gen(function* () {
      const { blob, layer } = yield* setUp
      yield* Effect.gen(function* () {
        const large = yield* Blob.withUploads(yield* Endpoint.make("ep", { input: Input, output }))
        const known = yield* blob.upload(bytes("a known mask"))
        const upload = new Blob.Upload({ bytes: bytes("a mask"), name: "mask.png", contentType: "image/png" })
        const given = {
          image: bytes("an image"),
          masks: [
            { at: 1, mask: upload },
            { at: 2, mask: known }
          ]
        }
        const { image, input } = yield* inTime(large.call(given))
        assert.strictEqual(image, "an image")
        const masks = input["masks"] as ReadonlyArray<{ readonly at: number; readonly mask: string }>
        assert.deepStrictEqual(
          masks.map(({ at }) => at),
          [1, 2]
        )
        assert.match(masks[0]!.mask, /\/in\/[0-9a-f]{32}\/mask\.png$/)
        assert.strictEqual((yield* blob.head(masks[0]!.mask)).contentType, "image/png")
        assert.strictEqual(masks[1]!.mask, Redacted.value(known.url))
        // The caller's own input is left as it was.
        assert.strictEqual(text(given.image), "an image")

        const handle = yield* inTime(large.run({ image: bytes("by run"), masks: [] }))
        assert.strictEqual((yield* inTime(handle.result())).image, "by run")
        assert.strictEqual(
          (yield* inTime(large.runSync({ image: bytes("by runSync"), masks: [] }))).image,
          "by runSync"
        )
        const prepared = yield* large.prepare({ image: bytes("prepared"), masks: [] })
        assert.strictEqual(text(yield* blob.bytes(prepared.image)), "prepared")
      }).pipe(Effect.provide(layer))
    })
)

it.scoped("small bytes go in the input itself with `inlineUpTo`", () =>
  Effect.gen(function* () {
    const { blob, layer } = yield* setUp
    yield* Effect.gen(function* () {
      const endpoint = yield* Endpoint.make("ep", { input: Input, output })
      const large = yield* Blob.withUploads(endpoint, { inlineUpTo: 8 })
      const { input } = yield* inTime(
        large.call({ image: bytes("12345"), masks: [{ at: 0, mask: bytes("123456789") }] })
      )
      assert.strictEqual(input["image"], "data:application/octet-stream;base64,MTIzNDU=")
      assert.strictEqual(text(yield* blob.bytes(String(input["image"]))), "12345")
      assert.notInclude(JSON.stringify(input["masks"]), "data:")
    }).pipe(Effect.provide(layer))
  })
)

it.scoped(
  "with `removeAfter` an input is removed once its job has ended, however that is, and not while it goes on",
  () =>
    Effect.gen(function* () {
      const { blob, layer } = yield* setUp
      const refs: Array<Blob.BlobRef> = []
      const recording: Blob.Service = {
        ...blob,
        upload: (source, options) => Effect.tap(blob.upload(source, options), (ref) => refs.push(ref))
      }
      const isThere = Effect.map(
        Effect.suspend(() => Effect.exit(blob.head(refs.at(-1)!))),
        ({ _tag }) => _tag === "Success"
      )
      yield* Effect.gen(function* () {
        const ep = yield* Endpoint.make("ep", { input: Input, output })
        const large = yield* Blob.withUploads(ep, { removeAfter: true })
        const input = { image: bytes("an image"), masks: [] }
        yield* inTime(large.call(input))
        assert.isFalse(yield* isThere)
        assert.strictEqual((yield* inTime(Effect.flip(large.call({ ...input, note: "fail" }))))._tag, "JobFailedError")
        assert.isFalse(yield* isThere)

        const wrong = yield* Effect.flip(large.call(input, { policy: { executionTimeout: "1 second" } }))
        assert.strictEqual(wrong._tag, "BadRequestError")
        assert.isFalse(yield* isThere)

        const slow = yield* Blob.withUploads(yield* Endpoint.make("slow", { input: Input, output }), {
          removeAfter: true
        })
        const options = { timeout: "10 seconds", cancelOnTimeout: false } as const
        assert.strictEqual((yield* inTime(Effect.flip(slow.call(input, options))))._tag, "WaitTimeoutError")
        assert.isTrue(yield* isThere)

        const kept = yield* Blob.withUploads(ep)
        yield* inTime(kept.call(input))
        assert.isTrue(yield* isThere)
      }).pipe(Effect.provideService(Blob.Blob, recording), Effect.provide(layer))
    })
)

it.scoped("an upload that fails is a BlobError, and nothing is submitted; an interrupted one neither", () =>
  Effect.gen(function* () {
    const { blob, layer } = yield* setUp
    const refused = new Blob.BlobError({ reason: "AccessDenied", operation: "upload", detail: "no" })
    const input = { image: bytes("an image"), masks: [] }
    yield* Effect.gen(function* () {
      const endpoint = yield* Endpoint.make("ep", { input: Input, output })
      const failing: Blob.Service = { ...blob, upload: () => Effect.fail(refused) }
      const large = yield* Effect.provideService(Blob.withUploads(endpoint), Blob.Blob, failing)
      assert.strictEqual(yield* Effect.flip(large.call(input)), refused)
      assert.strictEqual(yield* Effect.flip(large.run(input)), refused)
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(large.callStream(input))), refused)

      const hanging: Blob.Service = { ...blob, upload: () => Effect.never }
      const stuck = yield* Effect.provideService(Blob.withUploads(endpoint), Blob.Blob, hanging)
      yield* Fiber.interrupt(yield* Effect.fork(stuck.call(input)))
      assert.deepStrictEqual(yield* (yield* Emulator.Emulator).jobs("ep"), [])
    }).pipe(Effect.provide(layer))
  })
)

it.scoped("the layer's s3Config is handed on where that is asked for, and not otherwise", () =>
  Effect.gen(function* () {
    const { blob, layer } = yield* setUp
    const endpoint = yield* Effect.provide(Endpoint.make("ep", { input: Input, output }), layer)
    const seen: Array<unknown> = []
    const noted = {
      ...endpoint,
      run: (_: unknown, options: Endpoint.RunOptions = {}) => {
        seen.push(options.s3Config)
        return Effect.interrupt
      }
    }
    const input = { image: bytes("x"), masks: [] }
    const own = { accessId: "a", accessSecret: "b", bucketName: "c", endpointUrl: "d" }
    for (const [s3Config, options] of [
      [true, {}],
      [false, {}],
      [true, { s3Config: own }]
    ] as const) {
      const large = yield* Effect.provide(Blob.withUploads(noted, { s3Config }), layer)
      yield* Effect.exit(large.run(input, options))
    }
    assert.deepStrictEqual(seen, [blob.s3Config, undefined, own])
  })
)

it.scoped(
  "where the layer has no credentials to hand on, `s3Config` is an error, and nothing is uploaded or submitted",
  () =>
    Effect.gen(function* () {
      const { blob, layer } = yield* setUp
      let uploads = 0
      const temporary: Blob.Service = {
        ...blob,
        s3Config: undefined,
        upload: (source, options) => Effect.tap(blob.upload(source, options), () => uploads++)
      }
      yield* Effect.gen(function* () {
        const endpoint = yield* Endpoint.make("ep", { input: Input, output })
        const large = yield* Effect.provideService(Blob.withUploads(endpoint, { s3Config: true }), Blob.Blob, temporary)
        const input = { image: bytes("x"), masks: [] }
        for (const submit of [
          large.run(input),
          large.call(input),
          large.runSync(input),
          Stream.runDrain(large.callStream(input))
        ]) {
          const error = yield* Effect.flip(submit)
          assert(error._tag === "BlobError")
          assert.strictEqual(error.reason, "Unsupported")
        }
        assert.strictEqual(uploads, 0)
        assert.deepStrictEqual(yield* (yield* Emulator.Emulator).jobs("ep"), [])
        // One of the submit's own is as good as the layer's.
        const own = { accessId: "a", accessSecret: "b", bucketName: "c", endpointUrl: "https://d.test" }
        yield* large.run(input, { s3Config: own })
        assert.strictEqual((yield* (yield* Emulator.Emulator).jobs("ep")).length, 1)
      }).pipe(Effect.provide(layer))
    })
)

it.effect("a Ref is its URL on the wire, is printed without its query, and is understood by Arbitrary", () =>
  Effect.gen(function* () {
    const ref = yield* Schema.decode(Blob.Ref)("https://u:p@b.test:9/k/a.png?X-Amz-Signature=0a1b2c#f")
    assert.strictEqual(ref.location, "https://b.test:9/k/a.png")
    assert.notInclude(JSON.stringify(ref) + String(ref), "0a1b2c")
    assert.strictEqual(yield* Schema.encode(Blob.Ref)(ref), "https://u:p@b.test:9/k/a.png?X-Amz-Signature=0a1b2c#f")
    FastCheck.assert(
      FastCheck.property(Arbitrary.make(Blob.Ref), (ref) => {
        const text = Schema.encodeSync(Blob.Ref)(ref)
        assert.deepStrictEqual(Schema.decodeSync(Blob.Ref)(text), ref)
      })
    )
  })
)

it.scoped("in memory a blob is there until it is removed, in parts or not, and read in pieces", () =>
  Effect.gen(function* () {
    const { blob } = yield* setUp
    const source = Stream.range(1, 9).pipe(Stream.map((n) => new Uint8Array(1024 * 1024).fill(n)))
    const ref = yield* blob.upload(source)
    assert.strictEqual((yield* blob.head(ref)).size, 9 * 1024 * 1024)
    const pieces = Chunk.toReadonlyArray(yield* Stream.runCollect(blob.download(ref)))
    assert.isAbove(pieces.length, 9)
    assert.deepStrictEqual([...new Set(pieces.map((piece) => piece[0]))], [1, 2, 3, 4, 5, 6, 7, 8, 9])
    yield* blob.remove(ref)
    assert.strictEqual((yield* Effect.flip(blob.bytes(ref))).reason, "NotFound")
  })
)
