import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
  type ServiceInputTypes,
  type ServiceOutputTypes,
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
import { type Answer, intercepted, startsAsPage } from "./answer.js"
import { looking } from "./body.js"
import { type BlobError, blobError, transportError, type Where } from "./error.js"
import { md5Of, md5OfBody } from "./etag.js"
import { type Bucket, placeOf } from "./place.js"
import * as S3Send from "./s3Send.js"
import type { Request } from "./s3Send.js"
import { type From, longestSignature, startsAt, type Store, strongETag, totalOf } from "./store.js"

/** The metadata of an object in which its upload notes its mark: the header `x-amz-meta-effect-runpod-upload`. */
const markName = "effect-runpod-upload"

/** A bucket, and the client to reach it with. */
export interface S3 extends Bucket {
  readonly client: S3Client
  readonly s3Config: S3Config | undefined
  readonly scrub: Scrub
  /** Whether an ETag that looks like an MD5 must be that of the bytes. */
  readonly verifyETag: boolean
}

/** Stores that do not know the request for a checksum refuse it with one of these: Backblaze B2 did so until 2025. */
const isRefusalOfChecksum = ({ reason, status }: BlobError): boolean =>
  (status === 400 || status === 501) && reason !== "Intercepted"

/** Whether the client found other bytes than the checksum of their answer tells of: it has no name for that. */
const isMismatch = (cause: unknown): boolean =>
  hasProperty(cause, "message") && /^Checksum mismatch\b/.test(String(cause.message))

/** A bucket over the AWS SDK's client, which signs, and sends again what a fault cut. */
export const make = (s3: S3): Store => {
  const { client, name: Bucket, scrub, verifyETag } = s3
  const sender = { client, name: Bucket, scrub, verifyETag, md5: md5Of(client) }
  /** Until the store refuses it. */
  let asksForChecksum = true

  const send = <I extends ServiceInputTypes, O extends ServiceOutputTypes>(request: Request<I, O>) =>
    Effect.map(S3Send.send(sender, request), ([output]) => output)

  const missing = (operation: Where["operation"], key: string, what: string) =>
    blobError("Server", { operation, location: key, bucket: Bucket }, `the store's answer has no ${what}`)

  /** Stores bytes, and gives their ETag. */
  const sendBytes = <
    I extends ServiceInputTypes,
    O extends ServiceOutputTypes & { readonly ETag?: string | undefined }
  >(
    request: Omit<Request<I, O>, "operation"> & { readonly body: Uint8Array }
  ): Effect.Effect<string, BlobError> =>
    Effect.flatMap(S3Send.send(sender, { ...request, operation: "upload" }), ([{ ETag }, { sameness }]) => {
      if (ETag === undefined) return Effect.fail(missing("upload", request.key, "ETag"))
      if (sameness !== "Other") return Effect.succeed(ETag)
      const where = { operation: "upload", location: request.key, bucket: Bucket } as const
      return Effect.fail(blobError("Corrupt", where, "the store's ETag is not the MD5 of the bytes that were sent"))
    })

  /** Refuses a page that came under another type, and with an ETag, unless a store is there that has it as an object. */
  const refusePage = (where: Where, answer: Answer) => (text: string) => {
    if (!startsAsPage(text)) return Effect.void
    return Effect.flatMap(
      Effect.promise((signal) => S3Send.isThere(sender, signal)),
      (isThere) => (isThere ? Effect.void : Effect.fail(intercepted(where, answer, text, { scrub })))
    )
  }

  const presign: Store["presign"] = ({ expires, key, method }) => {
    const where = { operation: "presign", location: key, bucket: Bucket } as const
    const expiresIn = Math.floor(Duration.toSeconds(expires))
    if (expiresIn < 1 || Duration.greaterThan(expires, longestSignature)) {
      return Effect.fail(blobError("BadRequest", where, "a URL can be signed for 1 second to 7 days"))
    }
    const object = { Bucket, Key: key }
    const signed = Effect.tryPromise({
      try: () =>
        method === "GET"
          ? getSignedUrl(client, new GetObjectCommand(object), { expiresIn })
          : getSignedUrl(client, new PutObjectCommand(object), { expiresIn }),
      catch: (cause) => S3Send.errorOf(where, cause, scrub)
    })
    return Effect.map(signed, (url) => Redacted.make(url))
  }

  const get = (key: string, { etag, offset, size }: From, asksForChecksum: boolean) => {
    const range = offset === 0 ? {} : { Range: `bytes=${offset}-`, ...(etag === undefined ? {} : { IfMatch: etag }) }
    const mode = asksForChecksum ? ({ ChecksumMode: "ENABLED" } as const) : {}
    return S3Send.send(sender, {
      operation: "download",
      key,
      asked: "Get",
      command: () => new GetObjectCommand({ Bucket, Key: key, ...range, ...mode }),
      size: offset === 0 ? size : undefined
    })
  }

  /** Asks for the checksum, too. The client compares it with what comes; of a part of an object there is none. */
  const getChecked = (key: string, from: From) => {
    if (from.offset > 0 || !asksForChecksum) return get(key, from, false)
    return Effect.catchIf(get(key, from, true), isRefusalOfChecksum, () =>
      Effect.tap(get(key, from, false), () => {
        asksForChecksum = false
      })
    )
  }

  return {
    bucket: Bucket,
    scrub,
    s3Config: s3.s3Config,
    md5: verifyETag ? sender.md5 : undefined,
    put: ({ contentType, key }, body) =>
      Effect.asVoid(
        sendBytes({
          key,
          asked: "Put",
          command: () => new PutObjectCommand({ Bucket, Key: key, Body: body, ContentType: contentType }),
          body
        })
      ),
    createParts: ({ contentType, key, mark }) =>
      send({
        operation: "upload",
        key,
        asked: "Create",
        command: () =>
          new CreateMultipartUploadCommand({
            Bucket,
            Key: key,
            ContentType: contentType,
            ...(mark === undefined ? {} : { Metadata: { [markName]: mark } })
          })
      }).pipe(
        Effect.flatMap(({ UploadId }) =>
          UploadId === undefined ? Effect.fail(missing("upload", key, "upload id")) : Effect.succeed(UploadId)
        )
      ),
    putPart: (key, UploadId, number, body) =>
      Effect.map(
        sendBytes({
          key,
          asked: "Part",
          command: () => new UploadPartCommand({ Bucket, Key: key, UploadId, PartNumber: number, Body: body }),
          body
        }),
        (etag) => ({ number, etag })
      ),
    completeParts: (key, UploadId, parts) =>
      Effect.map(
        send({
          operation: "upload",
          key,
          asked: "Complete",
          command: () =>
            new CompleteMultipartUploadCommand({
              Bucket,
              Key: key,
              UploadId,
              MultipartUpload: { Parts: parts.map(({ etag, number }) => ({ PartNumber: number, ETag: etag })) }
            })
        }),
        // XML that is not S3's is read as one that says nothing.
        ({ ETag }) => ETag !== undefined
      ),
    abortParts: (key, UploadId) =>
      Effect.asVoid(
        send({
          operation: "upload",
          key,
          asked: "Abort",
          command: () => new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId })
        })
      ),
    open: (key, from) =>
      Effect.gen(function* () {
        const where = { operation: "download", location: key, bucket: Bucket } as const
        const [output, { answer, isSure }] = yield* getChecked(key, from)
        const body = output.Body
        if (body === undefined) return yield* Effect.fail(missing("download", key, "body"))
        const md5 = verifyETag && from.offset === 0 ? md5OfBody(answer?.headers ?? {}) : undefined
        const stream = Stream.fromReadableStream({
          // The SDK types its pieces as anything; they are bytes.
          evaluate: () => body.transformToWebStream() as ReadableStream<Uint8Array>,
          onError: (cause) =>
            isMismatch(cause)
              ? blobError("Corrupt", where, "the bytes that came have another checksum than the store tells of")
              : transportError(where, cause, scrub)
        })
        return {
          size: totalOf(output.ContentRange) ?? output.ContentLength,
          etag: strongETag(output.ETag),
          contentType: output.ContentType,
          isPartial: startsAt(output.ContentRange, from.offset),
          md5: md5 === undefined ? undefined : { expected: md5, make: sender.md5 },
          stream:
            isSure || answer === undefined || from.offset > 0 ? stream : looking(stream, refusePage(where, answer))
        }
      }),
    head: (key) =>
      Effect.map(
        send({ operation: "head", key, asked: "Head", command: () => new HeadObjectCommand({ Bucket, Key: key }) }),
        ({ ContentLength, ContentType, ETag, Metadata }) => ({
          size: ContentLength,
          etag: strongETag(ETag),
          contentType: ContentType,
          mark: Metadata?.[markName]
        })
      ),
    remove: (key) =>
      Effect.asVoid(
        send({
          operation: "remove",
          key,
          asked: "Remove",
          command: () => new DeleteObjectCommand({ Bucket, Key: key })
        })
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
