import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand
} from "@aws-sdk/client-s3"
import { getSignedUrl } from "@aws-sdk/s3-request-presigner"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { S3Config } from "../../schemas/RunRequest.js"
import type { Scrub } from "../../internal/text/scrub.js"
import { type BlobError, blobError, reasonOfStatus, transportError, type Where } from "./error.js"
import { type Bucket, placeOf } from "./place.js"
import { longestSignature, startsAt, type Store, strongETag, totalOf } from "./store.js"

/** The metadata of an object in which its upload notes its mark: the header `x-amz-meta-effect-runpod-upload`. */
const markName = "effect-runpod-upload"

/** A bucket, and the client to reach it with. */
export interface S3 extends Bucket {
  readonly client: S3Client
  readonly s3Config: S3Config | undefined
  readonly scrub: Scrub
}

const numberIn = (value: unknown, key: string): number | undefined =>
  hasProperty(value, key) && typeof value[key] === "number" ? value[key] : undefined

const textIn = (value: unknown, key: string): string | undefined =>
  hasProperty(value, key) && typeof value[key] === "string" ? value[key] : undefined

/** The status of an answer that the client could not read: it has it in a field of its own. */
const statusOf = (cause: unknown): number | undefined => {
  const metadata = hasProperty(cause, "$metadata") ? cause.$metadata : undefined
  const response = hasProperty(cause, "$response") ? cause.$response : undefined
  return numberIn(metadata, "httpStatusCode") ?? numberIn(response, "statusCode")
}

/** What the client says of a failure, without the client's error: that holds the request. */
const errorOf = (where: Where, cause: unknown, scrub: Scrub): BlobError => {
  const status = statusOf(cause)
  const name = textIn(cause, "name")
  if (status === undefined || status < 300) {
    // Missing credentials, a bucket that no URL can hold: nothing was sent.
    const isTransport = name === "TimeoutError" || name === "AbortError" || textIn(cause, "code") !== undefined
    return isTransport || name === "Error" || name === "TypeError"
      ? transportError(where, cause, scrub)
      : blobError("BadRequest", where, scrub(textIn(cause, "message") ?? "the request is not valid"))
  }
  const code = name === "Unknown" || name === "UnknownError" || name === "Error" ? undefined : name
  // An answer that is no XML, such as a proxy's page: what its reader says of it is of no use.
  const isRead = textIn(cause, "message") !== undefined && !/Deserialization error|^Unknown/.test(String(cause))
  const detail = isRead ? scrub(textIn(cause, "message") ?? "") : "the store gave no reason"
  return blobError(reasonOfStatus(status, code), where, detail === "" ? "the store gave no reason" : detail, {
    status,
    code: code === undefined ? undefined : scrub(code)
  })
}

/** A bucket over the AWS SDK's client, which signs, and sends again what a fault cut. */
export const make = (s3: S3): Store => {
  const { client, name: Bucket, scrub } = s3

  const send = <A>(operation: Where["operation"], key: string, f: (abortSignal: AbortSignal) => Promise<A>) =>
    Effect.tryPromise({ try: f, catch: (cause) => errorOf({ operation, location: key, bucket: Bucket }, cause, scrub) })

  const missing = (operation: Where["operation"], key: string, what: string) =>
    blobError("Server", { operation, location: key, bucket: Bucket }, `the store's answer has no ${what}`)

  const presign: Store["presign"] = ({ expires, key, method }) => {
    const where = { operation: "presign", location: key, bucket: Bucket } as const
    const expiresIn = Math.floor(Duration.toSeconds(expires))
    if (expiresIn < 1 || Duration.greaterThan(expires, longestSignature)) {
      return Effect.fail(blobError("BadRequest", where, "a URL can be signed for 1 second to 7 days"))
    }
    const object = { Bucket, Key: key }
    const signed = send("presign", key, () =>
      method === "GET"
        ? getSignedUrl(client, new GetObjectCommand(object), { expiresIn })
        : getSignedUrl(client, new PutObjectCommand(object), { expiresIn })
    )
    return Effect.map(signed, (url) => Redacted.make(url))
  }

  return {
    bucket: Bucket,
    scrub,
    s3Config: s3.s3Config,
    put: ({ contentType, key }, body) =>
      Effect.asVoid(
        send("upload", key, (abortSignal) =>
          client.send(new PutObjectCommand({ Bucket, Key: key, Body: body, ContentType: contentType }), { abortSignal })
        )
      ),
    createParts: ({ contentType, key, mark }) =>
      send("upload", key, (abortSignal) =>
        client.send(
          new CreateMultipartUploadCommand({
            Bucket,
            Key: key,
            ContentType: contentType,
            ...(mark === undefined ? {} : { Metadata: { [markName]: mark } })
          }),
          { abortSignal }
        )
      ).pipe(
        Effect.flatMap(({ UploadId }) =>
          UploadId === undefined ? Effect.fail(missing("upload", key, "upload id")) : Effect.succeed(UploadId)
        )
      ),
    putPart: (key, UploadId, number, body) =>
      send("upload", key, (abortSignal) =>
        client.send(new UploadPartCommand({ Bucket, Key: key, UploadId, PartNumber: number, Body: body }), {
          abortSignal
        })
      ).pipe(
        Effect.flatMap(({ ETag }) =>
          ETag === undefined ? Effect.fail(missing("upload", key, "ETag")) : Effect.succeed({ number, etag: ETag })
        )
      ),
    completeParts: (key, UploadId, parts) =>
      Effect.map(
        send("upload", key, (abortSignal) =>
          client.send(
            new CompleteMultipartUploadCommand({
              Bucket,
              Key: key,
              UploadId,
              MultipartUpload: { Parts: parts.map(({ etag, number }) => ({ PartNumber: number, ETag: etag })) }
            }),
            { abortSignal }
          )
        ),
        // An answer that is no XML of S3, such as a gateway's page, is read as one that says nothing.
        ({ ETag }) => ETag !== undefined
      ),
    abortParts: (key, UploadId) =>
      Effect.asVoid(
        send("upload", key, (abortSignal) =>
          client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId }), { abortSignal })
        )
      ),
    open: (key, { etag, offset }) =>
      Effect.gen(function* () {
        const range =
          offset === 0 ? {} : { Range: `bytes=${offset}-`, ...(etag === undefined ? {} : { IfMatch: etag }) }
        const answer = yield* send("download", key, (abortSignal) =>
          client.send(new GetObjectCommand({ Bucket, Key: key, ...range }), { abortSignal })
        )
        const body = answer.Body
        if (body === undefined) return yield* Effect.fail(missing("download", key, "body"))
        return {
          size: totalOf(answer.ContentRange) ?? answer.ContentLength,
          etag: strongETag(answer.ETag),
          contentType: answer.ContentType,
          isPartial: startsAt(answer.ContentRange, offset),
          stream: Stream.fromReadableStream({
            // The SDK types its pieces as anything; they are bytes.
            evaluate: () => body.transformToWebStream() as ReadableStream<Uint8Array>,
            onError: (cause) => transportError({ operation: "download", location: key, bucket: Bucket }, cause, scrub)
          })
        }
      }),
    head: (key) =>
      Effect.map(
        send("head", key, (abortSignal) => client.send(new HeadObjectCommand({ Bucket, Key: key }), { abortSignal })),
        ({ ContentLength, ContentType, ETag, Metadata }) => ({
          size: ContentLength,
          etag: strongETag(ETag),
          contentType: ContentType,
          mark: Metadata?.[markName]
        })
      ),
    remove: (key) =>
      Effect.asVoid(
        send("remove", key, (abortSignal) =>
          client.send(new DeleteObjectCommand({ Bucket, Key: key }), { abortSignal })
        )
      ),
    presign,
    address: presign,
    placeOf: (text, where) => placeOf(s3, text, where)
  }
}

/** A network volume: its S3 API signs no URLs, but its workers see the object as a file. */
export const makeVolume = (s3: S3 & { readonly mountPath: string }): Store => ({
  ...make(s3),
  presign: ({ key }) => {
    const where = { operation: "presign", location: key, bucket: s3.name } as const
    return Effect.fail(blobError("Unsupported", where, "the S3 API of network volumes does not support signed URLs"))
  },
  address: ({ key }) => Effect.succeed(Redacted.make(`${s3.mountPath}${key}`))
})
