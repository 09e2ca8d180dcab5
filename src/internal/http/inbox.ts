import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type * as Option from "effect/Option"

/** A body is taken off the connection as it comes until so much of it lies unread, in bytes. */
const mostUnread = 256 * 1024

/** Where a body comes from, which can be told to wait for its reader. */
export interface Source {
  readonly pause: () => void
  /** It may go on at once. */
  readonly resume: () => void
}

/** What has come of a body and waits for its one reader: a web stream would cost more than the rest of a request. */
export class Inbox<E> {
  private chunks: Array<Uint8Array> = []
  private size = 0
  private end: Option.Option<E> | undefined
  private wake: () => void = constVoid

  constructor(private readonly source: () => Source) {}

  add(bytes: Uint8Array): void {
    this.chunks.push(bytes)
    this.size += bytes.byteLength
    if (this.size > mostUnread) this.source().pause()
    this.wake()
  }

  /** Nothing more comes: `None` at the end, or why not. */
  close(end: Option.Option<E>): void {
    this.end ??= end
    this.wake()
  }

  /** What has come since the last time. */
  readonly pull: Effect.Effect<Chunk.Chunk<Uint8Array>, Option.Option<E>> = Effect.suspend(() => {
    const { chunks, end, size } = this
    if (chunks.length > 0) {
      this.chunks = []
      this.size = 0
      // It may call `add` at once.
      if (size > mostUnread) this.source().resume()
      return Effect.succeed(Chunk.unsafeFromArray(chunks))
    }
    if (end !== undefined) return Effect.fail(end)
    const arrival = Effect.async<void>((resume) => {
      this.wake = () => resume(Effect.void)
      // The fiber may have made room for others before it came here.
      if (this.chunks.length > 0 || this.end !== undefined) this.wake()
    })
    return Effect.zipRight(arrival, this.pull)
  })
}
