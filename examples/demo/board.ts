/**
 * Shows which job is in which state: on a terminal as one line per state, redrawn at each change, elsewhere as one line
 * per change.
 */
import { Clock, Effect, type Scope } from "effect"

export interface Board {
  /** A job is in a state now. `note` says more, such as how far it is. */
  readonly move: (job: string, state: string, note?: string) => Effect.Effect<void>
}

interface Place {
  readonly state: string
  readonly note: string
}

const labelWidth = 12
const barWidth = 12

const lineOf = (state: string, jobs: ReadonlyArray<string>, share: number, columns: number): string => {
  const filled = jobs.length === 0 ? 0 : Math.max(1, Math.round(share * barWidth))
  const bar = "█".repeat(filled).padEnd(barWidth, "·")
  const line = `  ${state.padEnd(labelWidth)} ${bar} ${String(jobs.length).padStart(3)}  ${jobs.join(", ")}`
  return line.length <= columns ? line : `${line.slice(0, columns - 1)}…`
}

/** A board of jobs that pass through `states`. What it drew last stays when the scope closes. */
export const make = (
  states: ReadonlyArray<string>,
  output: NodeJS.WriteStream = process.stdout
): Effect.Effect<Board, never, Scope.Scope> =>
  Effect.gen(function* () {
    const places = new Map<string, Place>()
    const startedAt = yield* Clock.currentTimeMillis

    const draw = () => {
      const lines = states.map((state) => {
        const jobs = [...places].filter(([, place]) => place.state === state)
        const names = jobs.map(([job, { note }]) => (note === "" ? job : `${job} (${note})`))
        return lineOf(state, names, jobs.length / Math.max(1, places.size), output.columns || 80)
      })
      output.write(`\u001b[${states.length}A${lines.map((line) => `\u001b[2K${line}\n`).join("")}`)
    }

    if (output.isTTY) {
      yield* Effect.acquireRelease(
        Effect.sync(() => output.write(`\u001b[?25l${"\n".repeat(states.length)}`)),
        () => Effect.sync(() => output.write("\u001b[?25h"))
      )
    }

    return {
      move: (job, state, note = "") =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          places.set(job, { state, note })
          if (output.isTTY) return draw()
          const time = ((now - startedAt) / 1000).toFixed(2).padStart(7)
          output.write(`${time} s  ${job.padEnd(8)} ${state}${note === "" ? "" : ` (${note})`}\n`)
        })
    }
  })
