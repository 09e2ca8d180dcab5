/**
 * A small S3 over real HTTP on loopback, in memory. It checks each signature by an implementation of its own, as the documentation of
 * SigV4 describes it, and can be told what to do wrong.
 */
import { Effect, type Scope } from "effect"
import { createHash, createHmac } from "node:crypto"
import * as Http from "node:http"
import { originOf } from "./listening.js"

/** What goes wrong with a request. */
export type Fault =
  /** The connection is reset once the request has come. */
  | { readonly _tag: "Reset" }
  /** The connection is reset in place of the answer, when what was asked is done. */
  | { readonly _tag: "Lost" }
  /** The answer has a range that begins elsewhere. */
  | { readonly _tag: "Shifted" }
  | { readonly _tag: "Answer"; readonly status: number; readonly code: string; readonly body?: string }
  /** The connection is reset after so many bytes of the answer's body. */
  | { readonly _tag: "Cut"; readonly after: number }
  /** No byte comes any more after so many of the answer's body. */
  | { readonly _tag: "Stall"; readonly after: number }
  /** The request is not answered. */
  | { readonly _tag: "Silence" }

/** A request as it came. */
export interface Asked {
  readonly method: string
  readonly key: string
  readonly query: URLSearchParams
  readonly headers: Http.IncomingHttpHeaders
  /** In bytes. */
  readonly size: number
}

export interface Stored {
  readonly body: Buffer
  readonly size: number
  readonly etag: string
  readonly contentType: string | undefined
  /** The headers `x-amz-meta-…` of its upload. */
  readonly metadata?: Readonly<Record<string, string>>
}

export interface Options {
  readonly bucket?: string
  readonly region?: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Whether bodies are counted and hashed, but not kept. */
  readonly discards?: boolean
  /** Whether its ETags are weak, so that nobody resumes a read that was cut. */
  readonly hasWeakETags?: boolean
  /** What goes wrong with a request. The number counts the requests of the same method and key, from 1. */
  readonly fault?: (asked: Asked, number: number) => Fault | undefined
}

export interface S3Server {
  readonly origin: string
  readonly objects: Map<string, Stored>
  /** Uploads in parts that have neither been completed nor aborted. */
  readonly uploads: Map<string, Upload>
  readonly requests: Array<Asked>
}

interface Upload {
  readonly key: string
  readonly contentType: string | undefined
  readonly metadata: Readonly<Record<string, string>>
  readonly parts: Map<number, Stored>
}

const hashOf = (data: string | Buffer) => createHash("sha256").update(data).digest("hex")
const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest()
const encode = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)

const millisOf = (stamp: string) => {
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp) ?? []
  return Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`)
}

/** Why a request is refused, or nothing. */
const refusalOf = (request: Http.IncomingMessage, bodyHash: string, options: Options): string | undefined => {
  const { accessKeyId, region = "us-east-1", secretAccessKey } = options
  const url = new URL(request.url ?? "/", "http://host")
  const query = [...url.searchParams]
  const signed = url.searchParams.has("X-Amz-Signature")
  const header = /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)$/.exec(
    request.headers.authorization ?? ""
  )
  if (!signed && header === null) return "AccessDenied"
  const text = (name: string) => url.searchParams.get(name) ?? ""
  const [credential = "", signedHeaders = "", signature = ""] = signed
    ? [text("X-Amz-Credential"), text("X-Amz-SignedHeaders"), text("X-Amz-Signature")]
    : (header?.slice(1) ?? [])
  const stamp = signed ? text("X-Amz-Date") : String(request.headers["x-amz-date"])
  const declared = signed ? "UNSIGNED-PAYLOAD" : String(request.headers["x-amz-content-sha256"])
  const [id, ...scope] = credential.split("/")
  if (id !== accessKeyId) return "InvalidAccessKeyId"
  if (scope.join("/") !== `${stamp.slice(0, 8)}/${region}/s3/aws4_request`) return "AuthorizationHeaderMalformed"
  const age = Date.now() - millisOf(stamp)
  if (signed ? age > Number(text("X-Amz-Expires")) * 1000 : Math.abs(age) > 15 * 60_000) return "AccessDenied"
  if (declared !== "UNSIGNED-PAYLOAD" && declared !== bodyHash) return "XAmzContentSHA256Mismatch"
  const names = signedHeaders.split(";")
  if (!names.includes("host")) return "AccessDenied"
  const canonical = [
    request.method,
    url.pathname,
    query
      .filter(([name]) => name !== "X-Amz-Signature")
      .map(([name, value]) => `${encode(name)}=${encode(value)}`)
      .sort()
      .join("&"),
    ...names.map((name) => `${name}:${String(request.headers[name]).trim().replace(/ +/g, " ")}`),
    "",
    signedHeaders,
    declared
  ].join("\n")
  const toSign = ["AWS4-HMAC-SHA256", stamp, scope.join("/"), hashOf(canonical)].join("\n")
  const key = scope.reduce<string | Buffer>((key, part) => hmac(key, part), `AWS4${secretAccessKey}`)
  return hmac(key, toSign).toString("hex") === signature ? undefined : "SignatureDoesNotMatch"
}

const xml = (code: string, more = "") =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>It is ${code}.</Message>${more}</Error>`

const metadataOf = (headers: Http.IncomingHttpHeaders): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (name.startsWith("x-amz-meta-") ? [[name, String(value)]] : []))
  )

const statuses: Readonly<Record<string, number>> = {
  NoSuchKey: 404,
  NoSuchBucket: 404,
  NoSuchUpload: 404,
  PreconditionFailed: 412,
  InvalidPart: 400,
  EntityTooSmall: 400
}

/** Until a response takes more, or nobody reads it any longer. */
const drained = (response: Http.ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      response.off("drain", done).off("close", done)
      resolve()
    }
    response.on("drain", done).on("close", done)
  })

/** Bytes that are not stored: a key such as `zeros/1000` has so many of them. */
const zerosIn = (key: string): Stored | undefined => {
  const size = /^zeros\/(\d+)$/.exec(key)?.[1]
  return size === undefined
    ? undefined
    : { body: Buffer.alloc(0), size: Number(size), etag: `"${size}"`, contentType: undefined }
}

class Server {
  readonly objects = new Map<string, Stored>()
  readonly uploads = new Map<string, Upload>()
  readonly requests: Array<Asked> = []
  private ids = 0

  constructor(private readonly options: Options) {}

  readonly onRequest = async (request: Http.IncomingMessage, response: Http.ServerResponse): Promise<void> => {
    const { bucket = "data", discards = false, fault } = this.options
    const [sha, md5, pieces] = [createHash("sha256"), createHash("md5"), new Array<Buffer>()]
    let size = 0
    for await (const piece of request as AsyncIterable<Buffer>) {
      sha.update(piece)
      md5.update(piece)
      size += piece.byteLength
      if (!discards || size < 64 * 1024) pieces.push(piece)
    }
    const url = new URL(request.url ?? "/", "http://host")
    const [, first = "", ...rest] = url.pathname.split("/")
    const key = decodeURIComponent(rest.join("/"))
    const { headers, method = "GET" } = request
    const asked = { method, key, query: url.searchParams, headers, size }
    this.requests.push(asked)
    const number = this.requests.filter((other) => other.method === method && other.key === key).length
    const wrong = fault?.(asked, number)
    if (wrong?._tag === "Reset") return void request.socket.destroy()
    if (wrong?._tag === "Silence") return
    if (wrong?._tag === "Lost") response.end = () => (request.socket.destroy(), response)
    if (wrong?._tag === "Answer") {
      return void response
        .writeHead(wrong.status, { "content-type": "application/xml" })
        .end(wrong.body ?? xml(wrong.code))
    }
    const refusal = refusalOf(request, sha.digest("hex"), this.options)
    // As careless servers do, it says what it was sent.
    if (refusal !== undefined) return this.refuse(response, refusal, 403, JSON.stringify([request.url, headers]))
    if (first !== bucket) return this.refuse(response, "NoSuchBucket")
    const body = discards ? Buffer.alloc(0) : Buffer.concat(pieces)
    const stored: Stored = { body, size, etag: `"${md5.digest("hex")}"`, contentType: headers["content-type"] }
    switch (method) {
      case "PUT":
        return this.put(asked, stored, response)
      case "POST":
        return this.post(asked, Buffer.concat(pieces).toString(), response)
      case "DELETE": {
        const uploadId = url.searchParams.get("uploadId")
        if (uploadId === null) this.objects.delete(key)
        else if (!this.uploads.delete(uploadId)) return this.refuse(response, "NoSuchUpload")
        return void response.writeHead(204).end()
      }
      default:
        return this.get(asked, response, wrong)
    }
  }

  private refuse(response: Http.ServerResponse, code: string, status = statuses[code] ?? 400, more = ""): void {
    const escaped = more.replace(/[<&]/g, (char) => (char === "<" ? "&lt;" : "&amp;"))
    response.writeHead(status, { "content-type": "application/xml" }).end(xml(code, `<Detail>${escaped}</Detail>`))
  }

  private put({ key, query }: Asked, stored: Stored, response: Http.ServerResponse): void {
    const uploadId = query.get("uploadId")
    if (uploadId === null) this.objects.set(key, stored)
    else {
      const upload = this.uploads.get(uploadId)
      if (upload === undefined) return this.refuse(response, "NoSuchUpload")
      upload.parts.set(Number(query.get("partNumber")), stored)
    }
    response.writeHead(200, { etag: stored.etag }).end()
  }

  private post({ headers, key, query }: Asked, body: string, response: Http.ServerResponse): void {
    const answer = (text: string) => response.writeHead(200, { "content-type": "application/xml" }).end(text)
    const uploadId = query.get("uploadId")
    if (uploadId === null) {
      const id = `upload-${++this.ids}`
      this.uploads.set(id, {
        key,
        contentType: headers["content-type"],
        metadata: metadataOf(headers),
        parts: new Map()
      })
      answer(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`)
      return
    }
    const upload = this.uploads.get(uploadId)
    if (upload === undefined) return this.refuse(response, "NoSuchUpload")
    const named = [...body.matchAll(/<Part>([\s\S]*?)<\/Part>/g)].map(([, part = ""]) => ({
      number: Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
      etag: /<ETag>([^<]*)</.exec(part)?.[1]?.replaceAll("&quot;", '"')
    }))
    const parts = named.map(({ number }) => upload.parts.get(number))
    const isRight = named.every(({ etag, number }, n) => number === n + 1 && etag === parts[n]?.etag)
    if (!isRight || named.length !== upload.parts.size) return this.refuse(response, "InvalidPart")
    if (parts.slice(0, -1).some((part) => (part?.size ?? 0) < 5 * 1024 * 1024))
      return this.refuse(response, "EntityTooSmall")
    const whole = Buffer.concat(parts.map((part) => part?.body ?? Buffer.alloc(0)))
    const size = parts.reduce((size, part) => size + (part?.size ?? 0), 0)
    const etag = `"${createHash("md5").update(whole).digest("hex")}-${parts.length}"`
    this.objects.set(key, { body: whole, size, etag, contentType: upload.contentType, metadata: upload.metadata })
    this.uploads.delete(uploadId)
    answer(`<CompleteMultipartUploadResult><ETag>${etag}</ETag></CompleteMultipartUploadResult>`)
  }

  private async get({ headers, key, method }: Asked, response: Http.ServerResponse, fault: Fault | undefined) {
    const stored = zerosIn(key) ?? this.objects.get(key)
    if (stored === undefined) return this.refuse(response, "NoSuchKey")
    const { body, contentType, etag, metadata, size } = stored
    const wanted = headers["if-match"]
    if (wanted !== undefined && wanted !== etag) return this.refuse(response, "PreconditionFailed")
    const asked = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0)
    const from = fault?._tag === "Shifted" ? asked + 1 : asked
    response.writeHead(headers.range === undefined ? 200 : 206, {
      etag: this.options.hasWeakETags === true ? `W/${etag}` : etag,
      "content-length": size - from,
      ...metadata,
      ...(contentType === undefined ? {} : { "content-type": contentType }),
      ...(headers.range === undefined ? {} : { "content-range": `bytes ${from}-${size - 1}/${size}` })
    })
    if (method === "HEAD") return void response.end()
    const last = fault?._tag === "Cut" || fault?._tag === "Stall" ? Math.min(size, from + fault.after) : size
    const step = 64 * 1024
    const zeros = Buffer.alloc(step)
    for (let at = from; at < last && !response.destroyed; at += step) {
      const piece =
        zerosIn(key) === undefined ? body.subarray(at, Math.min(at + step, last)) : zeros.subarray(0, last - at)
      if (!response.write(piece)) await drained(response)
    }
    response.flushHeaders()
    if (fault?._tag === "Cut") return void response.socket?.end(() => response.destroy())
    if (fault?._tag !== "Stall") response.end()
  }
}

/** Serves a bucket until the scope closes. */
export const serve = (options: Options): Effect.Effect<S3Server, never, Scope.Scope> =>
  Effect.gen(function* () {
    const server = new Server(options)
    const http = Http.createServer((request, response) => {
      server.onRequest(request, response).catch(() => request.socket.destroy())
    })
    const origin = yield* originOf(http)
    const { objects, requests, uploads } = server
    return { origin, objects, uploads, requests }
  })
