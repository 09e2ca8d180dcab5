import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { concatBytes } from "../../internal/text/bytes.js"
import type { Service, StoreOptions } from "../contract.js"
import * as Download from "./download.js"
import type { Fetch } from "./foreignUrl.js"
import { type BlobError, blobError, type Where } from "./error.js"
import { refusalOf } from "./place.js"
import { BlobRef, locationOf } from "./ref.js"
import type { From, Store } from "./store.js"
import * as Upload from "./upload.js"

const mib = 1024 * 1024

export const defaults = {
  prefix: "runpod/",
  partSize: 8 * mib,
  concurrency: 4,
  expires: Duration.hours(24),
  idleTimeout: Duration.seconds(30),
  maxSize: 512 * mib
} as const

const isWhole = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least

/** Why nothing is stored under a key, or nothing. An object that is there already is read by the key it has. */
const refusalOfNew = (key: string): string | undefined => {
  const refusal = refusalOf(key)
  if (refusal !== undefined || !/^\/|\/\/|\/$/.test(key)) return refusal
  return "a key must neither begin nor end with a slash, nor have two in a row: on a disk it would be another one's file"
}

/** The options, or what is wrong with them. */
export const settingsOf = (options: StoreOptions): Effect.Effect<Settings, BlobError> => {
  const { concurrency = defaults.concurrency, partSize = defaults.partSize, prefix = defaults.prefix } = options
  const wrong = (detail: string) => Effect.fail(blobError("BadRequest", { operation: "layer" }, detail))
  if (!isWhole(partSize, 5 * mib))
    return wrong("`partSize` must be a whole number of bytes, at least 5 MiB, S3's minimum")
  if (!isWhole(concurrency, 1)) return wrong("`concurrency` must be a whole number, at least 1")
  const refusal = refusalOfNew(`${prefix}0`)
  if (refusal !== undefined) return wrong(`with this \`prefix\` keys are refused: ${refusal}`)
  return Effect.succeed({
    prefix,
    cut: { partSize, concurrency },
    expires: Duration.decode(options.expires ?? defaults.expires),
    idle: Duration.toMillis(options.idleTimeout ?? defaults.idleTimeout)
  })
}

/** The options of a layer, checked and with defaults. */
export interface Settings {
  readonly prefix: string
  readonly cut: Upload.Cut
  readonly expires: Duration.Duration
  /** In milliseconds. */
  readonly idle: number
}

const hex = Effect.map(Effect.replicateEffect(Random.nextIntBetween(0, 0x1_0000_0000), 4), (numbers) =>
  numbers.map((number) => number.toString(16).padStart(8, "0")).join("")
)

/** All the bytes of a stream, of at most `maxSize`. */
const collect = (
  stream: Stream.Stream<Uint8Array, BlobError>,
  maxSize: number,
  where: Where
): Effect.Effect<Uint8Array, BlobError> =>
  Effect.suspend(() => {
    const pieces: Array<Uint8Array> = []
    let size = 0
    const keep = (piece: Uint8Array): Effect.Effect<void, BlobError> => {
      size += piece.byteLength
      if (size > maxSize) {
        return Effect.fail(
          blobError("TooLarge", where, `it has more than ${maxSize} bytes (\`maxSize\`); stream it instead`)
        )
      }
      pieces.push(piece)
      return Effect.void
    }
    return Effect.map(Stream.runForEach(stream, keep), () => concatBytes(pieces))
  })

/** The service over a store. */
export const make = (store: Store, settings: Settings, fetch: Fetch): Service => {
  const { bucket } = store
  const { cut, expires, idle, prefix } = settings
  const textOf = (blob: BlobRef | string | URL): string =>
    blob instanceof BlobRef ? Redacted.value(blob.url) : String(blob)

  const span = (name: string, location: string) => ({
    name: `Blob.${name}`,
    options: { captureStackTrace: false, attributes: { "blob.bucket": bucket, "blob.location": location } }
  })
  const inSpan = <A, E, R>(effect: Effect.Effect<A, E, R>, of: ReturnType<typeof span>) =>
    Effect.withSpan(effect, of.name, of.options)

  /** Where a blob is read from. */
  const openOf = (blob: BlobRef | string | URL, where: Where): Effect.Effect<Download.Open, BlobError> =>
    Effect.map(store.placeOf(textOf(blob), where), (place) => {
      const size = blob instanceof BlobRef ? blob.size : undefined
      return place._tag === "Key" ? (from: From) => store.open(place.key, { ...from, size }) : fetch(place.url, where)
    })

  const keyOf = (blob: BlobRef | string | URL, operation: Where["operation"]): Effect.Effect<string, BlobError> => {
    const where = { operation, location: locationOf(textOf(blob)), bucket }
    return Effect.flatMap(store.placeOf(textOf(blob), where), (place) =>
      place._tag === "Key"
        ? Effect.succeed(place.key)
        : Effect.fail(blobError("ForeignUrl", where, "it does not lie in this bucket"))
    )
  }

  const download: Service["download"] = (blob) => {
    const where: Where = { operation: "download", location: locationOf(textOf(blob)), bucket }
    const { name, options } = span("download", where.location ?? "")
    return Stream.unwrap(Effect.map(openOf(blob, where), (open) => Download.download(open, where, idle))).pipe(
      Stream.withSpan(name, options)
    )
  }

  return {
    bucket,
    s3Config: store.s3Config,
    upload: (source, options = {}) =>
      Effect.gen(function* () {
        const { contentType = "application/octet-stream", name } = options
        const id = yield* hex
        const key = options.key ?? `${prefix}${id}${name === undefined ? "" : `/${name}`}`
        const refusal = refusalOfNew(key)
        if (refusal !== undefined) {
          const where = { operation: "upload", location: locationOf(key), bucket } as const
          return yield* Effect.fail(blobError("BadRequest", where, refusal))
        }
        const sent = Effect.gen(function* () {
          // A key that holds the id is no other upload's.
          const mark = options.key === undefined ? undefined : id
          const size = yield* Upload.upload(store, { key, contentType, mark }, source, cut)
          const url = yield* store.address({ key, method: "GET", expires: options.expires ?? expires })
          return new BlobRef({ url, location: key, size })
        })
        return yield* inSpan(sent, span("upload", key))
      }),
    download,
    bytes: (blob, options = {}) =>
      collect(download(blob), options.maxSize ?? defaults.maxSize, {
        operation: "download",
        location: locationOf(textOf(blob)),
        bucket
      }),
    head: (blob) =>
      Effect.flatMap(keyOf(blob, "head"), (key) => inSpan(store.head(key), span("head", key))).pipe(
        Effect.map(({ contentType, etag, size }) => ({ size, etag, contentType }))
      ),
    presign: (blob, options = {}) =>
      Effect.flatMap(keyOf(blob, "presign"), (key) =>
        store.presign({ key, method: options.method ?? "GET", expires: options.expires ?? expires })
      ),
    remove: (blob) => Effect.flatMap(keyOf(blob, "remove"), (key) => inSpan(store.remove(key), span("remove", key)))
  }
}
