/**
 * Batches over real HTTP under the documented limits, the emulator in a process of its own: how long they take compared with
 * what is possible, what they cost, and how soon an end is seen.
 */
import { Batch, Endpoint } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { NodeRunPod } from "effect-runpod/Node"
import { Effect, Exit, Schema, Stream } from "effect"
import * as Server from "./server-client.js"

const workers = 60
const { Fault } = Emulator
const polls = ["status", "statusSync"] as const

const pollFaults = [
  Fault.resetAfter({ operations: polls, rate: 0.01 }),
  Fault.serverError({ operations: polls, rate: 0.02, status: 503 }),
  Fault.stall({ operations: polls, rate: 0.005 }),
  Fault.truncated({ operations: polls, rate: 0.01 })
]
const submitFaults = pollFaults.map((fault) => ({ ...fault, operations: [...polls, "run"] as const }))

/** What goes wrong during a batch. */
export interface Profile {
  readonly name: string
  readonly faults: ReadonlyArray<Emulator.Fault.Fault>
}

export const profiles: ReadonlyArray<Profile> = [
  { name: "no faults", faults: [] },
  { name: "1 % lost, 2 % 503, 0.5 % stalled, 1 % truncated polls", faults: pollFaults },
  { name: "the same on submits, too", faults: submitFaults }
]

export interface BatchFigures {
  readonly name: string
  readonly jobs: number
  readonly outcomes: Readonly<Record<string, number>>
  readonly submittedTwice: number
  /** Over the lower bound: the longer of what the workers and the limit of submits need. */
  readonly makespanRatio: number
  readonly requestsPerJob: number
  readonly throttled: number
  /** Milliseconds from a job's end until its outcome was there. */
  readonly lag: { readonly p50: number; readonly p95: number; readonly max: number }
  readonly text: string
}

const quantile = (values: ReadonlyArray<number>, share: number) =>
  [...values].sort((a, b) => a - b)[Math.max(0, Math.ceil(share * values.length) - 1)] ?? 0

const measure = ({ faults, name }: Profile, count: number) =>
  Effect.gen(function* () {
    const server = yield* Server.start({
      endpoints: {
        ep: { workers: { max: workers, min: workers }, execution: { min: "900 millis", max: "1100 millis" } }
      },
      faults,
      seed: count
    })
    const seen = new Map<string, number>()
    const tags: Record<string, number> = {}
    let collected: ReadonlySet<number> = new Set()
    const before = process.memoryUsage.rss()
    const cpu = process.cpuUsage()
    const startedAt = Date.now()
    yield* Effect.gen(function* () {
      const endpoint = yield* Endpoint.make("ep", {
        input: Schema.Struct({ n: Schema.Number }),
        output: Schema.Struct({ n: Schema.Number })
      })
      const inputs = Array.from({ length: count }, (_, n) => ({ n }))
      const outcomes = yield* Batch.run(endpoint, inputs).pipe(
        Stream.runFold(new Set<number>(), (settled, { index, jobId, result }) => {
          if (jobId !== undefined) seen.set(jobId, Date.now())
          const tag = Exit.match(result, {
            onSuccess: () => "Completed",
            onFailure: (cause) => (cause._tag === "Fail" ? cause.error._tag : "Defect")
          })
          tags[tag] = (tags[tag] ?? 0) + 1
          return settled.add(index)
        })
      )
      collected = outcomes
    }).pipe(Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl: server.url })))
    const makespan = Date.now() - startedAt
    const used = process.cpuUsage(cpu)
    const { jobs, rateLimited, submitted, total } = yield* server.summary
    const all = Object.entries(jobs)
    const executed = all.reduce((sum, [, job]) => sum + job.executed, 0)
    const longest = Math.max(...all.map(([, job]) => job.executed))
    const bound = Math.max(executed / workers, Math.floor((count - 1) / 1000) * 10_000 + longest)
    const lags = all.flatMap(([id, { finishedAt }]) => {
      const at = seen.get(id)
      return at === undefined ? [] : [at - finishedAt]
    })
    const perInput = new Map<number, number>()
    for (const [, { n }] of all) perInput.set(n, (perInput.get(n) ?? 0) + 1)
    const twice = [...perInput.values()].filter((times) => times > 1).length
    const lag = { p50: quantile(lags, 0.5), p95: quantile(lags, 0.95), max: Math.max(...lags) }
    const text = [
      `${name}, ${count} jobs on ${workers} workers`,
      `  settled         ${collected.size} of ${count}: ${JSON.stringify(tags)}; ${submitted} jobs, ${twice} inputs twice`,
      `  makespan        ${(makespan / 1000).toFixed(2)} s, ${(makespan / bound).toFixed(3)} × the bound of ${(bound / 1000).toFixed(2)} s`,
      `  requests a job  ${(total / count).toFixed(2)}, ${rateLimited} answered 429`,
      `  noticed after   p50 ${lag.p50} ms, p95 ${lag.p95} ms, max ${lag.max} ms`,
      `  CPU             ${((used.user + used.system) / 1000 / count).toFixed(2)} ms a job; ${((process.memoryUsage.rss() - before) / 2 ** 20).toFixed(0)} MiB more`
    ].join("\n")
    return {
      name,
      jobs: count,
      outcomes: tags,
      submittedTwice: twice,
      makespanRatio: makespan / bound,
      requestsPerJob: total / count,
      throttled: rateLimited,
      lag,
      text
    }
  }).pipe(Effect.scoped)

export const measureBatch = (profile: Profile, count: number): Promise<BatchFigures> =>
  Effect.runPromise(measure(profile, count))
