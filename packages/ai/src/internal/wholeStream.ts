import type { JobError } from "effect-runpod/JobError"
import type { RunPodError } from "effect-runpod/RunPodError"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { IncompleteStreamError, type ModelError } from "../ModelError.js"

type StreamError = RunPodError | JobError

/** All pieces of a job's output. */
export const piecesOf = (output: unknown): ReadonlyArray<unknown> => {
  if (output === undefined || output === null) return []
  return Array.isArray(output) ? output : [output]
}

/** The pieces that came through `/stream`, which gives each of them once: what a lost answer held is only in the job's output. */
class Received {
  private readonly pieces: Array<unknown> = []
  /** An answer was lost, and pieces may be lost with it. */
  hasGap = false

  get isEmpty(): boolean {
    return this.pieces.length === 0
  }

  /** Whether a piece is the next one. */
  take(piece: unknown): boolean {
    if (this.hasGap) return false
    this.pieces.push(piece)
    return true
  }

  /** The pieces of the output that did not come. */
  restOf(output: unknown): ReadonlyArray<unknown> | undefined {
    const all = piecesOf(output)
    if ([...this.pieces, ...all].every((piece) => typeof piece === "string")) {
      const [came, whole] = [this.pieces.join(""), all.join("")]
      return whole.startsWith(came) ? [whole.slice(came.length)] : undefined
    }
    const isPrefix = this.pieces.every((piece, at) => JSON.stringify(piece) === JSON.stringify(all[at]))
    return isPrefix ? all.slice(this.pieces.length) : undefined
  }
}

/** The job has no output any more, or never had one. */
const isGone = (error: RunPodError | JobError) =>
  error._tag === "OutputMissingError" || error._tag === "JobNotFoundError"

/**
 * The pieces of a job, all of them. `read` streams them and reports when an answer was lost; from then on nothing that comes is
 * known to be the next, so it is left, and the rest is taken from the job's `output` when it has ended. So is all of it where no piece
 * came: a handler that is no generator streams nothing.
 */
export const wholeStream = (
  read: (onGap: () => Effect.Effect<void>) => Stream.Stream<unknown, StreamError>,
  output: Effect.Effect<unknown, StreamError>
): Stream.Stream<unknown, StreamError | ModelError> =>
  Stream.suspend(() => {
    const received = new Received()
    const rest: Effect.Effect<ReadonlyArray<unknown>, StreamError | ModelError> = Effect.suspend(() => {
      if (!received.hasGap && !received.isEmpty) return Effect.succeed([])
      // How much of the answer's text the pieces held, their reader says.
      const lost = new IncompleteStreamError({ reason: "Gap", received: 0 })
      return output.pipe(
        Effect.catchIf(isGone, () => (received.hasGap ? Effect.fail(lost) : Effect.succeed(undefined))),
        Effect.flatMap((whole) => {
          const pieces = received.restOf(whole)
          return pieces === undefined ? Effect.fail(lost) : Effect.succeed(pieces)
        })
      )
    })
    return read(() => Effect.sync(() => void (received.hasGap = true))).pipe(
      Stream.filter((piece) => received.take(piece)),
      Stream.concat(Stream.fromIterableEffect(rest))
    )
  })
