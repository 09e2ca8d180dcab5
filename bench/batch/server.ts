/** An emulated RunPod in a process of its own, which its parent drives over IPC. */
import { RateLimits } from "effect-runpod"
import { NodeEmulator } from "effect-runpod/Node"
import { Effect, Runtime } from "effect"

/** The options that can be written as JSON. */
export interface ServerOptions extends Omit<NodeEmulator.ServeOptions, "limits"> {
  /** Documented unless said otherwise; `reads`: only those of reads. */
  readonly limits?: "off" | "reads"
}

export interface Summary {
  readonly total: number
  readonly rateLimited: number
  readonly submitted: number
  /** By job id. */
  readonly jobs: Readonly<
    Record<string, { readonly n: number; readonly executed: number; readonly finishedAt: number }>
  >
}

/** As the emulator enforces them. */
const limitsOf = (limits: ServerOptions["limits"]): RateLimits.RateLimits => {
  if (limits === "off") return RateLimits.unlimited
  const table: RateLimits.RateLimits = { ...RateLimits.documented, operations: RateLimits.table }
  if (limits === undefined) return table
  return { ...table, operations: { ...table.operations, run: RateLimits.unlimited.operations.run } }
}

const program = Effect.gen(function* () {
  const { limits, ...options }: ServerOptions = JSON.parse(process.argv[2] ?? "{}")
  const server = yield* NodeEmulator.serve({ ...options, limits: limitsOf(limits) })
  const run = Runtime.runPromise(yield* Effect.runtime())
  const summary = Effect.gen(function* () {
    const counts = yield* server.counts
    const jobs = yield* server.jobs("ep")
    const answer: Summary = {
      total: counts.total - (counts.byOperation.health?.total ?? 0),
      rateLimited: counts.rateLimited,
      submitted: counts.submitted,
      jobs: Object.fromEntries(
        jobs.map((job) => [
          job.id,
          { n: Number(job.input["n"]), executed: job.executionTime ?? 0, finishedAt: job.finishedAt ?? 0 }
        ])
      )
    }
    return answer
  })
  process.on("message", () => void run(summary).then((answer) => process.send?.(answer)))
  process.on("disconnect", () => process.exit(0))
  process.send?.(server.url)
  yield* Effect.never
})

Effect.runFork(Effect.scoped(program))
