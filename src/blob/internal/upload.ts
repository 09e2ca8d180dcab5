import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Chunk from "effect/Chunk"
import * as Stream from "effect/Stream"
import { type BlobError, blobError } from "./error.js"
import type { Part, Store, Target } from "./store.js"

/** How an upload is cut. */
export interface Cut {
  /** In bytes. */
  readonly partSize: number
  /** How many parts are sent at once. */
  readonly concurrency: number
}

/** S3 takes no more parts of one object. */
const mostParts = 10_000

/** How long the end of a failed upload waits for its parts to be removed, in milliseconds. */
const abortGrace = 10_000

interface Piece {
  readonly number: number
  readonly body: Uint8Array
  /** Whether it is all there is: it needs no upload in parts. */
  readonly isAll: boolean
}

/** Copies bytes into parts of one size. It keeps a full part back until another byte comes, since the last part is marked. */
class Parts {
  size = 0
  private number = 0
  private length = 0
  private buffer: Uint8Array | undefined

  constructor(private readonly partSize: number) {}

  push(bytes: Uint8Array): Array<Piece> {
    this.size += bytes.byteLength
    const full: Array<Piece> = []
    let at = 0
    while (at < bytes.byteLength) {
      if (this.buffer !== undefined && this.length === this.partSize) full.push(this.take(this.buffer, false))
      const buffer = (this.buffer ??= new Uint8Array(this.partSize))
      const copied = Math.min(bytes.byteLength - at, this.partSize - this.length)
      buffer.set(bytes.subarray(at, at + copied), this.length)
      this.length += copied
      at += copied
    }
    return full
  }

  end(): Piece {
    const body = (this.buffer ?? new Uint8Array()).subarray(0, this.length)
    return this.take(body, this.number === 0)
  }

  private take(body: Uint8Array, isAll: boolean): Piece {
    this.buffer = undefined
    this.length = 0
    return { number: ++this.number, body, isAll }
  }
}

const piecesOf = <E, R>(source: Uint8Array | Stream.Stream<Uint8Array, E, R>, parts: Parts, partSize: number) => {
  if (!(source instanceof Uint8Array)) {
    return Stream.concat(
      Stream.mapConcat(source, (bytes) => parts.push(bytes)),
      Stream.sync(() => parts.end())
    )
  }
  // Views of the caller's bytes, not copies.
  parts.size = source.byteLength
  const count = Math.max(1, Math.ceil(source.byteLength / partSize))
  return Stream.map(Stream.range(1, count), (number): Piece => ({
    number,
    body: source.subarray((number - 1) * partSize, number * partSize),
    isAll: count === 1
  }))
}

/** Asks the store to forget the parts of an upload that is given up: they would be billed until somebody looks for them. */
const abort = (store: Store, key: string, uploadId: string): Effect.Effect<void> =>
  store.abortParts(key, uploadId).pipe(
    Effect.timeoutOption(abortGrace),
    Effect.filterOrFail(Option.isSome, () => undefined),
    Effect.catchAll((error) =>
      // There are none: the upload ended before.
      error?.code === "NoSuchUpload"
        ? Effect.void
        : Effect.logWarning(
            `The parts of ${key} in bucket ${store.bucket} could not be removed: they are stored until a rule does`
          )
    ),
    Effect.asVoid
  )

/**
 * Makes an object of its parts. When the answer that said so is lost, the client asks again, and the store knows the upload no more; and
 * a gateway's page can stand in its place. Then the object itself says whether it is there: it has the size and the mark of this upload.
 */
const complete = (
  store: Store,
  { key, mark, uploadId }: Target & { readonly uploadId: string },
  parts: ReadonlyArray<Part>,
  size: number
): Effect.Effect<void, BlobError> => {
  const where = { operation: "upload", location: key, bucket: store.bucket } as const
  const orElse = (error: BlobError) =>
    store.head(key).pipe(
      Effect.mapError(() => error),
      Effect.filterOrFail(
        (object) => object.size === size && object.mark === mark,
        () => error
      ),
      Effect.asVoid
    )
  return store.completeParts(key, uploadId, parts).pipe(
    Effect.matchEffect({
      onFailure: (error) =>
        error.code === "NoSuchUpload" || error.reason === "Intercepted" ? orElse(error) : Effect.fail(error),
      onSuccess: (isSaid) =>
        isSaid ? Effect.void : orElse(blobError("Server", where, "the store did not say that it has the object"))
    })
  )
}

/**
 * Stores what `source` gives, in one request when it fits a part, else in parts, and gives its size in bytes. Of a stream at most
 * `concurrency` and three parts are in memory. An upload that fails or is interrupted leaves no parts behind. It may leave the whole object
 * where the last request, which makes that, was already under way: what the store does with it then, nobody learns.
 */
export const upload = <E, R>(
  store: Store,
  target: Target,
  source: Uint8Array | Stream.Stream<Uint8Array, E, R>,
  { concurrency, partSize }: Cut
): Effect.Effect<number, BlobError | E, R> =>
  Effect.gen(function* () {
    const where = { operation: "upload", location: target.key, bucket: store.bucket } as const
    const parts = new Parts(partSize)
    let uploadId: string | undefined
    // Not interruptible: an upload whose id got lost could not be aborted.
    const started = yield* Effect.cached(
      Effect.uninterruptible(
        Effect.tap(store.createParts(target), (id) => {
          uploadId = id
        })
      )
    )
    const send = ({ body, isAll, number }: Piece): Effect.Effect<Part | undefined, BlobError> => {
      if (isAll) return Effect.as(store.put(target, body), undefined)
      if (number > mostParts) {
        const most = `at most ${mostParts} parts of an object, here of ${partSize} bytes each (\`partSize\`)`
        return Effect.fail(blobError("TooLarge", where, `S3 takes ${most}`))
      }
      return Effect.flatMap(started, (id) => store.putPart(target.key, id, number, body))
    }
    const sent = Stream.runCollect(Stream.mapEffect(piecesOf(source, parts, partSize), send, { concurrency }))
    yield* sent.pipe(
      Effect.flatMap((ends) => {
        if (uploadId === undefined) return Effect.void
        const sent = Chunk.toReadonlyArray(ends).flatMap((end) => end ?? [])
        return complete(store, { ...target, uploadId }, sent, parts.size)
      }),
      Effect.onExit((exit) =>
        Exit.isSuccess(exit) || uploadId === undefined ? Effect.void : abort(store, target.key, uploadId)
      )
    )
    return parts.size
  })
