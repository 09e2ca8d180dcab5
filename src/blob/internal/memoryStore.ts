import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { concatBytes } from "../../internal/text/bytes.js"
import { type BlobError, blobError, type Where } from "./error.js"
import { placeOf } from "./place.js"
import type { Facts, Store } from "./store.js"

interface Stored {
  readonly bytes: Uint8Array
  readonly contentType: string
  readonly etag: string
}

const endpoint = new URL("https://blobs.memory.test")
const chunkSize = 64 * 1024

/** A bucket in memory: its URLs are read by the same store only. */
export const make = (bucket: string): Store => {
  const objects = new Map<string, Stored>()
  const uploads = new Map<string, { readonly contentType: string; readonly parts: Map<number, Uint8Array> }>()
  let ids = 0

  const store = (key: string, bytes: Uint8Array, contentType: string) => {
    objects.set(key, { bytes, contentType, etag: `"${++ids}"` })
  }
  const find = (operation: Where["operation"], key: string): Effect.Effect<Stored, BlobError> =>
    Effect.suspend(() => {
      const found = objects.get(key)
      const where = { operation, location: key, bucket }
      return found === undefined
        ? Effect.fail(blobError("NotFound", where, "there is no such object", { status: 404, code: "NoSuchKey" }))
        : Effect.succeed(found)
    })
  const factsOf = ({ bytes, contentType, etag }: Stored): Facts => ({ size: bytes.byteLength, etag, contentType })
  const address: Store["address"] = ({ key }) =>
    Effect.succeed(Redacted.make(`${endpoint.origin}/${bucket}/${key.split("/").map(encodeURIComponent).join("/")}`))

  return {
    bucket,
    scrub: (text) => text,
    s3Config: {
      accessId: Redacted.make("memory-access-id"),
      accessSecret: Redacted.make("memory-access-secret"),
      bucketName: bucket,
      endpointUrl: endpoint.origin
    },
    put: ({ contentType, key }, body) => Effect.sync(() => store(key, body.slice(), contentType)),
    createParts: ({ contentType }) =>
      Effect.sync(() => {
        const id = String(++ids)
        uploads.set(id, { contentType, parts: new Map() })
        return id
      }),
    putPart: (_key, id, number, body) =>
      Effect.sync(() => {
        uploads.get(id)?.parts.set(number, body.slice())
        return { number, etag: `"${number}"` }
      }),
    completeParts: (key, id, parts) =>
      Effect.sync(() => {
        const { contentType = "", parts: bodies } = uploads.get(id) ?? {}
        uploads.delete(id)
        store(key, concatBytes(parts.flatMap(({ number }) => bodies?.get(number) ?? [])), contentType)
        return true
      }),
    abortParts: (_key, id) => Effect.sync(() => void uploads.delete(id)),
    open: (key, { offset }) =>
      Effect.map(find("download", key), (stored) => {
        const { bytes } = stored
        const count = Math.ceil((bytes.byteLength - offset) / chunkSize)
        const piece = (n: number) => bytes.slice(offset + n * chunkSize, offset + (n + 1) * chunkSize)
        const stream = count === 0 ? Stream.empty : Stream.map(Stream.range(0, count - 1), piece)
        return { ...factsOf(stored), isPartial: offset > 0, stream }
      }),
    head: (key) => Effect.map(find("head", key), factsOf),
    remove: (key) => Effect.sync(() => void objects.delete(key)),
    presign: address,
    address,
    placeOf: (text, where) => placeOf({ name: bucket, endpoint }, text, where)
  }
}
