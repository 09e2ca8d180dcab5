/** Which keys there are, and that none leads to another object. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Blob from "../../src/blob/Blob.js"
import { placeOf } from "../../src/blob/internal/place.js"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as Endpoint from "../../src/services/Endpoint.js"

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytes = (text: string) => new TextEncoder().encode(text)

/** Each could be taken for `b`, or for an object of nobody. */
const wrong = ["", ".", "..", "./b", "../b", "a/../b", "a/./b", "b/.", "b/..", "a\\..\\b", "..\\b", "b\ud800"]

/** Each could be taken for the file of another key. */
const wrongToStore = ["/b", "//b", "a//b", "b/", "https://blobs.memory.test/memory/b", "s3://memory/b"]

/** No more than keys with odd names. */
const odd = ["...", "a..b/c", ".b", "a/..b", "a/%2e%2e/b", "%2E%2E%2Fb", "a\\b", "ü #1?.png", "a b/ c"]

it.effect("a key that could lead to another object is refused before anything is sent, and says why", () =>
  Effect.gen(function* () {
    const { head, presign } = yield* Blob.Blob
    yield* Blob.upload(bytes("the victim"), { key: "b" })
    for (const key of [...wrong, ...wrongToStore]) {
      const uploaded = yield* Effect.flip(Blob.upload(bytes("another"), { key }))
      assert.deepInclude(uploaded, { reason: "BadRequest", operation: "upload" }, key)
    }
    for (const name of ["", "..", "../b", "../../b", "/b", "a/"]) {
      assert.strictEqual((yield* Effect.flip(Blob.upload(bytes("another"), { name }))).reason, "BadRequest", name)
    }
    for (const key of wrong) {
      const failing = [Blob.bytes(key), Blob.remove(key), head(key), presign(key), Blob.remove(`s3://memory/${key}`)]
      for (const operation of failing) assert.strictEqual((yield* Effect.flip(operation)).reason, "BadRequest", key)
    }
    assert.match((yield* Effect.flip(Blob.remove("a/../b"))).message, /`\.\.` can be no part of a key/)
    assert.strictEqual(text(yield* Blob.bytes("b")), "the victim")
  }).pipe(Effect.provide(Blob.layerMemory()))
)

it.effect("a URL of the bucket whose path has steps is refused, however they are written", () =>
  Effect.gen(function* () {
    const { url } = yield* Blob.upload(bytes("the victim"), { key: "b" })
    const folder = Redacted.value(url).slice(0, -1)
    for (const steps of ["a/../b", "a/%2e%2E/b", "a/.%2e/b", "./b", "a\\..\\b", "a/.\t./b", "a%2F..%2Fb", "b/.. "]) {
      assert.strictEqual((yield* Effect.flip(Blob.remove(folder + steps))).reason, "BadRequest", steps)
    }
    assert.strictEqual(text(yield* Blob.bytes(`${folder}b?at=a/../c`)), "the victim")
  }).pipe(Effect.provide(Blob.layerMemory()))
)

it.effect("a key with an odd name is its own object by its reference, its key and its URL", () =>
  Effect.gen(function* () {
    for (const key of odd) {
      const ref = yield* Blob.upload(bytes(key), { key })
      assert.strictEqual(ref.location, key)
      for (const name of [ref, key, new URL(Redacted.value(ref.url)), `s3://memory/${key}`]) {
        assert.strictEqual(text(yield* Blob.bytes(name)), key)
      }
      yield* Blob.remove(ref)
      assert.strictEqual((yield* Effect.flip(Blob.bytes(key))).reason, "NotFound")
    }
  }).pipe(Effect.provide(Blob.layerMemory()))
)

it.effect("a path on a network volume that leads out of it is refused", () =>
  Effect.gen(function* () {
    const volume = { name: "vol1", endpoint: new URL("https://s3.test"), mountPath: "/runpod-volume/" }
    const where = { operation: "download" } as const
    assert.deepStrictEqual(yield* placeOf(volume, "/runpod-volume/a/b", where), { _tag: "Key", key: "a/b" })
    for (const path of ["/runpod-volume/../b", "/runpod-volume/a/../../b", "/runpod-volume/"]) {
      assert.strictEqual((yield* Effect.flip(placeOf(volume, path, where))).reason, "BadRequest")
    }
  })
)

it.scoped("an upload with the name of another object is refused, and `removeAfter` leaves that object alone", () =>
  Effect.gen(function* () {
    yield* Blob.upload(bytes("the victim"), { key: "runpod/victim.bin" })
    const endpoint = yield* Endpoint.make("ep", { input: Schema.Struct({ image: Blob.Ref }), output: Schema.Unknown })
    const large = yield* Blob.withUploads(endpoint, { removeAfter: true })
    const image = new Blob.Upload({ bytes: new Uint8Array(10), name: "../victim.bin" })
    const error = yield* Effect.flip(large.call({ image }))
    assert(error._tag === "BlobError")
    assert.strictEqual(error.reason, "BadRequest")
    assert.strictEqual(text(yield* Blob.bytes("runpod/victim.bin")), "the victim")
    assert.deepStrictEqual(yield* (yield* Emulator.Emulator).jobs("ep"), [])
  }).pipe(Effect.provide(Blob.layerMemory()), Effect.provide(Emulator.layerRunPod({ endpoints: { ep: {} } })))
)

it.effect("a prefix or a bucket with which no key could be right is refused by the layer", () =>
  Effect.gen(function* () {
    for (const options of [
      { prefix: "../" },
      { prefix: "/in/" },
      { prefix: "in//" },
      { bucket: ".." },
      { bucket: "" }
    ]) {
      const error = yield* Effect.flip(Effect.provide(Blob.upload(bytes("x")), Blob.layerMemory(options)))
      assert.deepInclude(error, { reason: "BadRequest", operation: "layer" })
    }
  })
)
