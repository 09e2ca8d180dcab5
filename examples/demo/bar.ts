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
  progress.pipe(
    Stream.runForEach((now) =>
      Effect.sync(() =>
        output.write(output.isTTY ? `\u001b[2K\r${lineOf(now)}${now.ended ? "\n" : ""}` : `${lineOf(now)}\n`)
      )
    )
  )
