import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type Backoff, delayAfter } from "../../internal/pace/backoff.js"
import { type BlobError, blobError, isRetryable, type Where } from "./error.js"
import { digestOf, type Hash } from "./etag.js"
import type { From, Opened } from "./store.js"

/** How often in a row a read is resumed that brings less than `progressSize`. */
const mostResumes = 5

/** Fewer bytes than this are no progress: a server that cuts every answer after a few of them would be asked for ever. */
export const progressSize = 64 * 1024

/**
 * How long an answer is waited for, with all attempts of the client that asks, in milliseconds. RunPod computes the ETag of a file that a
 * worker wrote when it is first asked for, which can take minutes.
 */
const answerTimeout = 10 * 60_000

const backoff: Backoff = { base: 200, cap: 5000, jitter: "half" }

/** Reads one object, from the byte on that it is asked for. */
export type Open = (from: From) => Effect.Effect<Opened, BlobError>

/** The MD5 that all bytes together must have. */
interface Md5 {
  readonly expected: string
  readonly hash: Hash
}

/** Where a read is, and what it must still be reading. */
interface Progress extends From {
  readonly size: number | undefined
  readonly md5: Md5 | undefined
  /** Resumes since the last progress. */
  readonly resumes: number
}

/**
 * The bytes of an object. When an answer is cut or stalls, the rest is asked for, from the first missing byte on, as long as the
 * object has the same ETag. An object without a strong ETag cannot be told from another: it is not resumed. At the end, all bytes together
 * must be as many as the first answer said, and have the MD5 that it told.
 *
 * @param idle The longest pause between two pieces of an answer, in milliseconds. It does not bound the wait for an answer, in which the
 * client may try again.
 */
export const download = (open: Open, where: Where, idle: number): Stream.Stream<Uint8Array, BlobError> => {
  const timedOut = (detail: string) => blobError("Transport", where, detail, { code: "ETIMEDOUT" })
  const stalled = () => timedOut(`no byte came for ${idle} ms`)
  const unanswered = () => timedOut(`no answer came for ${answerTimeout} ms`)

  const check = (opened: Opened, progress: Progress): BlobError | undefined => {
    if (progress.offset === 0) return undefined
    if (!opened.isPartial)
      return blobError("Incomplete", where, "it was cut, and the server does not give a part of it")
    return opened.etag === progress.etag ? undefined : blobError("Changed", where, "it has another ETag than before")
  }

  const verified = (md5: Md5 | undefined): Effect.Effect<void, BlobError> =>
    md5 === undefined
      ? Effect.void
      : Effect.filterOrFail(
          Effect.promise(() => digestOf(md5.hash)),
          (digest) => digest === md5.expected,
          () => blobError("Corrupt", where, "the bytes that came have another MD5 than the store's ETag tells of")
        ).pipe(Effect.asVoid)

  const read = (progress: Progress): Stream.Stream<Uint8Array, BlobError> => {
    let { etag, md5, offset, size } = progress
    let isAnswered = false
    let isFinal = false
    const opened = Effect.gen(function* () {
      const answer = yield* Effect.timeoutFail(open(progress), { duration: answerTimeout, onTimeout: unanswered })
      const wrong = check(answer, progress)
      isFinal = wrong !== undefined
      if (wrong !== undefined) return Stream.fail(wrong)
      isAnswered = true
      if (progress.offset === 0) {
        etag = answer.etag
        size = answer.size
        md5 = answer.md5 && { expected: answer.md5.expected, hash: answer.md5.make() }
      }
      size ??= answer.size
      return Stream.timeoutFail(answer.stream, stalled, idle)
    })
    const counted = Stream.unwrap(opened).pipe(
      Stream.map((bytes) => {
        offset += bytes.byteLength
        md5?.hash.update(bytes)
        return bytes
      })
    )
    const end = Stream.suspend(() =>
      size === undefined || offset === size
        ? Stream.execute(verified(md5))
        : Stream.fail(blobError("Incomplete", where, `${offset} bytes of ${size} came`))
    )
    return Stream.catchAll(Stream.concat(counted, end), (error) => {
      const resumes = offset - progress.offset >= progressSize ? 0 : progress.resumes
      // A request without an answer was tried by the client as often as it may be. Of a read that brought bytes before it is tried again, as
      // a store that is started anew comes back, unless the wait was for nothing: all resumes together would take an hour.
      const mayAsk = isAnswered || (offset > 0 && error.code !== "ETIMEDOUT")
      const canResume = mayAsk && !isFinal && isRetryable(error) && (offset === 0 || etag !== undefined)
      if (!canResume || resumes >= mostResumes) return Stream.fail(error)
      const rest = Effect.map(Effect.flatMap(delayAfter(backoff, resumes), Effect.sleep), () =>
        read({ offset, etag, size, md5, resumes: resumes + 1 })
      )
      return Stream.unwrap(rest)
    })
  }

  return Stream.suspend(() => read({ offset: 0, etag: undefined, size: undefined, md5: undefined, resumes: 0 }))
}
