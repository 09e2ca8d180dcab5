/** One of the processes that submit at once: it starts when it is told to, and says how long it took. */
import { Endpoint, RateLimits } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Redis } from "effect-runpod-cluster"
import { Duration, Effect, Layer, Schema } from "effect"
import { once } from "node:events"

export interface WorkerOptions {
  readonly url: string
  readonly count: number
  /** How many processes divide the limits by themselves; 1 where one has all. */
  readonly parts: number
  /** Where the processes share the limits. */
  readonly redis: string | undefined
}

export interface Submitted {
  readonly seconds: number
  /** Milliseconds of CPU a submit. */
  readonly cpu: number
}

const { count, parts, redis, url }: WorkerOptions = JSON.parse(process.argv[2] ?? "{}")

const { run } = RateLimits.documented.operations
const limits = RateLimits.make({
  run: { ...run, limit: Math.floor(run.limit / parts), concurrency: Math.floor(run.concurrency / parts) }
})
const alone = NodeRunPod.layer({ apiKey: "key", baseUrl: url, limits })
const layer = redis === undefined ? alone : Layer.provide(alone, Redis.layer({ url: redis }))

const submitAll = (endpoint: Endpoint.Endpoint<unknown, unknown>, count: number) =>
  Effect.forEach(
    Array.from({ length: count }, (_, n) => ({ n })),
    (input) => Effect.retry(endpoint.run(input), { while: ({ _tag }) => _tag === "RateLimitedError" }),
    { concurrency: "unbounded", discard: true }
  )

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint.make("ep", { input: Schema.Unknown, output: Schema.Unknown })
  // Connections, compiled code on both sides, and a Redis that has settled; another endpoint, so that the limits measured are untouched.
  const warm = yield* Endpoint.make("warm", { input: Schema.Unknown, output: Schema.Unknown })
  yield* submitAll(warm, 200)
  yield* Effect.promise(() => {
    process.send?.("ready")
    return once(process, "message")
  })
  const cpu = process.cpuUsage()
  const [took] = yield* Effect.timed(submitAll(endpoint, count))
  const { system, user } = process.cpuUsage(cpu)
  const submitted: Submitted = { seconds: Duration.toSeconds(took), cpu: (system + user) / 1000 / count }
  process.send?.(submitted)
})

await Effect.runPromise(Effect.provide(program, layer))
process.exit(0)
