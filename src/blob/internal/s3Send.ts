/** Sends commands of the AWS SDK, and looks at each answer as it came, before the client reads it. */
import {
  type $Command,
  GetObjectCommand,
  type S3Client,
  type S3ClientResolvedConfig,
  type ServiceInputTypes,
  type ServiceOutputTypes
} from "@aws-sdk/client-s3"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import type { Scrub } from "../../internal/text/scrub.js"
import { type Answer, type Asked, intercepted, isMarked, type Sameness, storeErrorIn, verdictOf } from "./answer.js"
import { beginningOf, decoded } from "./body.js"
import { type BlobError, blobError, reasonOfStatus, transportError, type Where } from "./error.js"
import { digestOf, type MakeHash, md5In } from "./etag.js"

/** A bucket, and the client that sends. */
export interface Sender {
  readonly client: S3Client
  readonly name: string
  readonly scrub: Scrub
  readonly md5: MakeHash
  /** Whether an ETag that looks like an MD5 must be one. */
  readonly verifyETag: boolean
}

/** A command, and what its answer must say. */
export interface Request<I extends ServiceInputTypes, O extends ServiceOutputTypes> {
  readonly operation: Where["operation"]
  readonly key: string
  readonly asked: Asked
  readonly command: () => $Command<I, O, S3ClientResolvedConfig, ServiceInputTypes, ServiceOutputTypes>
  /** What is stored. */
  readonly body?: Uint8Array | undefined
  /** How many bytes the object should have. */
  readonly size?: number | undefined
}

/** An answer as it came. */
export interface Seen {
  /** Missing where the client has none, such as a double. */
  answer?: Answer | undefined
  /** The beginning of a body that is no download. */
  text?: string | undefined
  /** Whether the ETag is the MD5 of what was sent. */
  sameness: Sameness
  /** Whether a header, or another request, has shown that a store is there. */
  isSure: boolean
}

interface Response {
  readonly statusCode: number
  readonly headers: Record<string, string>
  body?: unknown
}

const isResponse = (value: unknown): value is Response =>
  hasProperty(value, "statusCode") &&
  typeof value.statusCode === "number" &&
  hasProperty(value, "headers") &&
  typeof value.headers === "object" &&
  value.headers !== null

const answerOf = ({ headers, statusCode }: Response): Answer => ({
  status: statusCode,
  headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
})

const isSuccess = ({ status }: Answer): boolean => status >= 200 && status < 300

/** How much is read of a body that is no download, in bytes: most of it can be spaces. */
const mostRead = 64 * 1024

/**
 * The text of a body, which the client reads then in its place. A store sends spaces while it makes an object of its parts; the client
 * knows an error by its last letters, so that no space may follow.
 */
const textOf = async (response: Response): Promise<string> => {
  const text = decoded(await beginningOf(response.body, mostRead), mostRead).trim()
  response.body = new TextEncoder().encode(text)
  return text
}

/** The client does not know how to compute these checksums of an object, and would give up. */
const isUnknownChecksum = (name: string): boolean =>
  /^x-amz-checksum-(?!(?:crc32c?|crc64nvme|sha1|sha256)$)/i.test(name)

type Handler<A, R> = (args: A) => Promise<R>

type Middleware = <A, R extends { readonly response: unknown }>(next: Handler<A, R>) => Handler<A, R>

/** Has answers looked at before all others of the command's chain get them. */
const looking =
  (look: (response: Response) => Promise<void>): Middleware =>
  (next) =>
  async (args) => {
    const result = await next(args)
    if (isResponse(result.response)) await look(result.response)
    return result
  }

/** The end of the chain, next to the transport. */
const nextToTransport = { step: "deserialize", priority: "low", name: "effectRunPodAnswer" } as const

/** Ends a request that something else than the store has answered. The client does not know it, and so does not send again. */
class NotTheStore extends Error {}

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
export const errorOf = (where: Where, cause: unknown, scrub: Scrub, answer?: Answer): BlobError => {
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
    // An error that came with status 200 has another one for the client.
    status: answer?.status ?? status,
    code: code === undefined ? undefined : scrub(code)
  })
}

const samenessOf = async ({ md5, verifyETag }: Sender, { headers }: Answer, body: Uint8Array): Promise<Sameness> => {
  const expected = md5In(headers)
  if (expected === undefined) return "Unknown"
  const hash = md5()
  hash.update(body)
  if ((await digestOf(hash)) === expected) return "Same"
  return verifyETag ? "Other" : "Unknown"
}

/** A key that no object has: a store says so in XML, where a login page shows itself. */
const nobodysKey = "effect-runpod/no-such-object"

/**
 * Whether a store is there. Some send no header that is a store's alone, so that some of their answers could be anybody's; their errors are
 * XML all the same.
 */
export const isThere = async ({ client, name }: Sender, abortSignal: AbortSignal): Promise<boolean> => {
  const command = new GetObjectCommand({ Bucket: name, Key: nobodysKey })
  let isStores = false
  const look = async (response: Response) => {
    const text = await textOf(response)
    isStores = !isSuccess(answerOf(response)) && storeErrorIn(text) !== undefined
  }
  command.middlewareStack.add(looking(look), nextToTransport)
  await client.send(command, { abortSignal }).catch(() => undefined)
  return isStores
}

/** Judges an answer, and notes what it has seen. */
const judge = async (
  sender: Sender,
  { asked, body, size }: Pick<Request<never, never>, "asked" | "body" | "size">,
  seen: Seen,
  response: Response,
  abortSignal: AbortSignal
): Promise<void> => {
  const answer = (seen.answer = answerOf(response))
  const isDownload = asked === "Get" && isSuccess(answer)
  const text = isDownload ? undefined : await textOf(response)
  const sameness = (seen.sameness = body === undefined ? "Unknown" : await samenessOf(sender, answer, body))
  const verdict = verdictOf(asked, answer, { sameness, text, size })
  seen.isSure = isMarked(answer.headers) || (verdict === "Doubtful" && (await isThere(sender, abortSignal)))
  if (verdict === "Other" || (verdict === "Doubtful" && !seen.isSure)) {
    seen.text = text ?? (await textOf(response))
    throw new NotTheStore("something else than the store answered")
  }
  for (const name of Object.keys(response.headers).filter(isUnknownChecksum)) {
    Reflect.deleteProperty(response.headers, name)
  }
}

/** Sends a command. It fails unless the store itself has answered, in the words of S3's protocol. */
export const send = <I extends ServiceInputTypes, O extends ServiceOutputTypes>(
  sender: Sender,
  request: Request<I, O>
): Effect.Effect<readonly [O, Seen], BlobError> =>
  Effect.suspend(() => {
    const { client, name: bucket, scrub } = sender
    const { key, operation } = request
    const where = { operation, location: key, bucket }
    const seen: Seen = { sameness: "Unknown", isSure: false }
    return Effect.tryPromise({
      try: (abortSignal) => {
        const command = request.command()
        // Of this command alone: the client can be the user's.
        command.middlewareStack.add(
          looking((response) => judge(sender, request, seen, response, abortSignal)),
          nextToTransport
        )
        return client.send(command, { abortSignal })
      },
      catch: (cause) =>
        cause instanceof NotTheStore && seen.answer !== undefined
          ? intercepted(where, seen.answer, seen.text ?? "", { scrub })
          : errorOf(where, cause, scrub, seen.answer)
    }).pipe(Effect.map((output) => [output, seen] as const))
  })
