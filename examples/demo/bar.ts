/**
 * Shows how far a batch is: on a terminal as a bar, elsewhere as plain lines.
 */
import type { Batch } from "effect-runpod"
import { Duration, Effect, Stream } from "effect"

const width = 30

const lineOf = ({ done, eta, failed, rate, total = 0 }: Batch.Progress): string => {
  const filled = total === 0 ? 0 : Math.round((done / total) * width)
  const left = eta === undefined ? "" : `, ${Duration.toSeconds(eta).toFixed(1)} s left`
  const bar = "█".repeat(filled).padEnd(width, "·")
  return `  ${bar}  ${done} of ${total} done, ${failed} failed, ${rate.toFixed(1)} a second${left}`
}

/** Draws until the batch has ended. */
export const show = (progress: Stream.Stream<Batch.Progress>, output = process.stdout): Effect.Effect<void> =>
  Stream.runForEach(progress, (now) =>
    Effect.sync(() => {
      // A line that is wrapped could not be drawn over.
      const line = output.isTTY ? `\u001b[2K\r${lineOf(now).slice(0, (output.columns || 80) - 1)}` : lineOf(now)
      output.write(now.ended || !output.isTTY ? `${line}\n` : line)
    })
  )
