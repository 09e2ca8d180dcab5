/**
 * What can go wrong with an append to a batch of RunPod's batch API.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { visible } from "../internal/text/visible.js"
import { RunPodError } from "./RunPodError.js"
import { withoutFrames } from "./taggedError.js"

/**
 * What became of a part of an append: the requests from index `from` on, that went in one call.
 *
 * - `Added`: they are in the batch;
 * - `NotAdded`: RunPod refused them, or never got them;
 * - `Unknown`: the answer was lost, and they may be in the batch or not;
 * - `NotSent`: a part before them went wrong.
 *
 * @since 0.1.0
 * @category models
 */
export const Part = Schema.Struct({
  from: Schema.Number,
  count: Schema.Number,
  fate: Schema.Literal("Added", "NotAdded", "Unknown", "NotSent")
})

/**
 * @since 0.1.0
 * @category models
 */
export type Part = typeof Part.Type

/**
 * An append that stopped at a part. An `Unknown` one is in the batch when its `requestTotal` has grown by more than the
 * parts that were `Added`, as long as nobody else appends to it.
 *
 * @since 0.1.0
 * @category errors
 */
export class AppendError extends withoutFrames(
  Schema.TaggedError<AppendError>("effect-runpod/AppendError")("AppendError", {
    endpointId: Schema.String,
    batchId: Schema.String,
    /** The batch's `requestTotal` before the append, when RunPod told it. */
    totalBefore: Schema.optional(Schema.Number),
    parts: Schema.Array(Part),
    /** What went wrong at the first part that is not `Added`. */
    cause: RunPodError
  })
) {
  override get message(): string {
    const of = (...fates: ReadonlyArray<Part["fate"]>) =>
      this.parts.reduce((sum, { count, fate }) => (fates.includes(fate) ? sum + count : sum), 0)
    const unknown = of("Unknown")
    const doubt = unknown === 0 ? "" : `, of ${unknown} more it is not known`
    const known = `${of("Added")} of ${this.parts.reduce((sum, { count }) => sum + count, 0)} requests were added${doubt}`
    const next =
      unknown === 0
        ? "Append the rest once the cause is mended."
        : "Compare the batch's requestTotal with the parts before you append the rest."
    return visible(
      `append to batch ${this.batchId} on endpoint ${this.endpointId}: ${known}. ${this.cause.message} ${next}`
    )
  }
}
