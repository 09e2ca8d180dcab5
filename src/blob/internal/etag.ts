import type { S3Client } from "@aws-sdk/client-s3"
import type { Headers } from "./answer.js"

/** An MD5 that is being computed. */
export interface Hash {
  readonly update: (bytes: Uint8Array) => void
  readonly digest: () => Promise<Uint8Array>
}

export type MakeHash = () => Hash

/** The client's own MD5, by which it checks answers: Node's, and in a browser one in JavaScript. */
export const md5Of =
  ({ config }: S3Client): MakeHash =>
  () =>
    new config.md5()

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

export const digestOf = async (hash: Hash): Promise<string> => hex(await hash.digest())

/**
 * The MD5 of an object, where its ETag is one as S3 documents it: not that of an object of parts, nor of one that is encrypted with a key
 * other than S3's, nor of a directory bucket.
 */
export const md5In = (headers: Headers): string | undefined => {
  const etag = /^(?:W\/)?"?([0-9a-f]{32})"?$/i.exec(headers["etag"] ?? "")?.[1]
  const encryption = headers["x-amz-server-side-encryption"] ?? "AES256"
  const isOfOtherKey =
    encryption !== "AES256" ||
    headers["x-amz-server-side-encryption-customer-algorithm"] !== undefined ||
    Object.keys(headers).some((name) => name.startsWith("x-goog-encryption-"))
  if (isOfOtherKey || headers["x-amz-storage-class"] === "EXPRESS_ONEZONE") return undefined
  return etag?.toLowerCase()
}

/** The MD5 that the bytes of an answer must have, which may not be unpacked on their way, nor be told of with a weak ETag. */
export const md5OfBody = (headers: Headers): string | undefined => {
  const encoding = headers["content-encoding"]?.toLowerCase() ?? "identity"
  if (headers["etag"]?.startsWith("W/") === true) return undefined
  return encoding === "identity" || encoding === "aws-chunked" ? md5In(headers) : undefined
}
