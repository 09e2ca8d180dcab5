import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Stream from "effect/Stream"
import type { S3Config } from "../../schemas/RunRequest.js"
import type { Scrub } from "../../internal/text/scrub.js"
import type { BlobError, Where } from "./error.js"
import type { MakeHash } from "./etag.js"

/** A URL is signed for no longer: SigV4 takes at most 7 days. */
export const longestSignature = Duration.days(7)

/** An ETag that says that the bytes are the same; a weak one does not. */
export const strongETag = (etag: string | undefined): string | undefined =>
  etag?.startsWith("W/") === true ? undefined : etag

/** The size of the whole object, of which an answer gives a part. */
export const totalOf = (contentRange: string | undefined): number | undefined => {
  const total = /\/(\d+)$/.exec(contentRange ?? "")?.[1]
  return total === undefined ? undefined : Number(total)
}

/** Where an object is to be stored. */
export interface Target {
  readonly key: string
  readonly contentType: string
  /** What an upload in parts notes of itself at its object, where others may have the key: it tells theirs from its own. */
  readonly mark?: string | undefined
}

/** A part of an upload in parts; the first has the number 1. */
export interface Part {
  readonly number: number
  readonly etag: string
}

/** What is known of an object. */
export interface Facts {
  readonly size: number | undefined
  /** Missing where it is weak, and so does not say that the bytes are the same. */
  readonly etag: string | undefined
  readonly contentType: string | undefined
}

/** An object that is there. */
export interface Found extends Facts {
  /** Missing where its upload noted none, or the store does not keep it. */
  readonly mark?: string | undefined
}

/** From which byte on an object is read; with the `etag` it must still have. */
export interface From {
  readonly offset: number
  readonly etag: string | undefined
  /** How many bytes the whole object has, as far as its reference tells. */
  readonly size?: number | undefined
}

/** Whether the range of an answer (`bytes 5-9/10`) begins where it was asked for. */
export const startsAt = (contentRange: string | undefined, offset: number): boolean =>
  contentRange !== undefined && Number(/^bytes\s+(\d+)-/.exec(contentRange)?.[1]) === offset

/** An object that is being read. */
export interface Opened extends Facts {
  /** Whether the stream starts at the offset that was asked for, rather than at the beginning. */
  readonly isPartial: boolean
  /** The MD5 of the whole object, where it is known, and what computes one. */
  readonly md5?: { readonly expected: string; readonly make: MakeHash } | undefined
  readonly stream: Stream.Stream<Uint8Array, BlobError>
}

/** What a text that names a blob means to a store. */
export type Place = { readonly _tag: "Key"; readonly key: string } | { readonly _tag: "Url"; readonly url: URL }

/** How long a URL is valid, and for what. */
export interface Signing {
  readonly key: string
  readonly method: "GET" | "PUT"
  readonly expires: Duration.DurationInput
}

/** A bucket: one request each. What is made of them, `service.ts` says. */
export interface Store {
  readonly bucket: string
  readonly scrub: Scrub
  readonly s3Config: S3Config | undefined
  /** What computes an MD5; missing where ETags are not compared with any. */
  readonly md5?: MakeHash | undefined
  readonly put: (target: Target, body: Uint8Array) => Effect.Effect<void, BlobError>
  readonly createParts: (target: Target) => Effect.Effect<string, BlobError>
  readonly putPart: (key: string, uploadId: string, number: number, body: Uint8Array) => Effect.Effect<Part, BlobError>
  /** Whether the store said of the object what it does when it has it. */
  readonly completeParts: (
    key: string,
    uploadId: string,
    parts: ReadonlyArray<Part>
  ) => Effect.Effect<boolean, BlobError>
  readonly abortParts: (key: string, uploadId: string) => Effect.Effect<void, BlobError>
  readonly open: (key: string, from: From) => Effect.Effect<Opened, BlobError>
  readonly head: (key: string) => Effect.Effect<Found, BlobError>
  readonly remove: (key: string) => Effect.Effect<void, BlobError>
  readonly presign: (signing: Signing) => Effect.Effect<Redacted.Redacted, BlobError>
  /** What a worker is told of an object. */
  readonly address: (signing: Signing) => Effect.Effect<Redacted.Redacted, BlobError>
  readonly placeOf: (text: string, where: Where) => Effect.Effect<Place, BlobError>
}
