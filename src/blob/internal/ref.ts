import * as Data from "effect/Data"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/**
 * A blob that is stored somewhere: what `upload` gives, what a job's input says of it, and what a job's output names. Printed, it shows
 * where it is, not the query of its URL: that can be a signature, with which anybody may read it.
 *
 * @since 0.1.0
 * @category models
 */
export class BlobRef extends Data.TaggedClass("BlobRef")<{
  /** What a job is sent: a URL that is signed for a time, or a path on a network volume. */
  readonly url: Redacted.Redacted
  /** The key in the bucket, or the URL without its query. */
  readonly location: string
  /** In bytes, where it is known. */
  readonly size?: number | undefined
}> {}

/** Whether a text begins like a URL with an origin. */
export const isUrlLike = (text: string): boolean => /^[a-z][a-z0-9+.-]*:\/\//i.test(text)

/** A URL without what can be secret in it: its query, its fragment, a password; a text that is no URL without its query. */
export const locationOf = (text: string): string => {
  if (/^data:/i.test(text)) return `${/^data:[^,;]*/i.exec(text)?.[0] ?? "data:"};…`
  if (!isUrlLike(text)) return text.replace(/[?#].*$/s, "")
  if (!URL.canParse(text)) return text.replace(/^([^:]*:\/\/).*@/s, "$1").replace(/[?#].*$/s, "")
  const { hostname, pathname, port, protocol } = new URL(text)
  return `${protocol}//${hostname}${port === "" ? "" : `:${port}`}${pathname}`
}

/**
 * The blob that a text names: a URL, `s3://bucket/key`, a path on a network volume, or a key in the layer's bucket. Nothing is sent.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ref = (text: string | URL): BlobRef =>
  new BlobRef({ url: Redacted.make(String(text)), location: locationOf(String(text)) })

const FromSelf = Schema.declare((value: unknown): value is BlobRef => value instanceof BlobRef, {
  identifier: "BlobRef",
  arbitrary: () => (fc) => fc.webUrl().map((url) => ref(url)),
  pretty: () => (blob) => `BlobRef(${blob.location})`
})

/**
 * The schema of a blob in the input or the output of a job: on the wire it is the text that `BlobRef.url` holds.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Ref: Schema.Schema<BlobRef, string> = Schema.transform(Schema.NonEmptyString, FromSelf, {
  strict: true,
  decode: (text) => ref(text),
  encode: ({ url }) => Redacted.value(url)
}).annotations({ identifier: "BlobRef", description: "The URL of a blob" })
