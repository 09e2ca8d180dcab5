import type { Health } from "effect-runpod/Health"
import * as QueueDiagnosis from "effect-runpod/QueueDiagnosis"
import * as RunPod from "effect-runpod/RunPod"
import type { RunPodError } from "effect-runpod/RunPodError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Client from "../shell/client.js"
import { UsageError } from "../shell/errors.js"
import { Output } from "../shell/output.js"

interface HealthArgs extends Client.Access {
  readonly endpoint: string
  readonly watch: boolean
  readonly interval: Duration.Duration | undefined
  readonly diagnose: boolean
}

/** An endpoint's gauges, or that it is paused, and what they say of the jobs in its queue. */
interface Reading {
  readonly health: Health | "Paused"
  readonly diagnosis: QueueDiagnosis.QueueDiagnosis | undefined
}

/** What `/health` tells, and why its jobs wait where any do. */
export const readingOf = (endpoint: string): Effect.Effect<Reading, RunPodError, RunPod.RunPod> =>
  Effect.gen(function* () {
    const { health: ask } = yield* RunPod.RunPod
    const health = yield* ask(endpoint).pipe(
      Effect.catchTag("EndpointPausedError", () => Effect.succeed("Paused" as const))
    )
    const isWaiting = health === "Paused" || (health.jobs.inQueue ?? 0) > 0
    return { health, diagnosis: isWaiting ? QueueDiagnosis.fromHealth(health, { queuedFor: 0 }) : undefined }
  })

const numbersOf = (numbers: object): string =>
  Object.entries(numbers)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ")

/** A reading for people. */
export const describeHealth = ({ health }: Pick<Reading, "health">): string =>
  health === "Paused"
    ? "paused: its maximum of workers is 0"
    : `jobs: ${numbersOf(health.jobs)}\nworkers: ${numbersOf(health.workers)}`

/** A reading as data. */
const dataOf = ({ diagnosis, health }: Reading, diagnose: boolean) => ({
  ...(health === "Paused" ? { paused: true } : { jobs: health.jobs, workers: health.workers }),
  ...(diagnose ? { diagnosis: diagnosis ?? null } : {})
})

const textOf = (reading: Reading, diagnose: boolean): string => {
  const why = reading.diagnosis?.message ?? "No job waits for longer than it should, as far as /health tells."
  return diagnose ? `${describeHealth(reading)}\n${why}` : describeHealth(reading)
}

const usualInterval = Duration.seconds(5)

export const health = Effect.fnUntraced(
  function* ({ diagnose, endpoint, interval, watch }: HealthArgs) {
    if (interval !== undefined && !watch) {
      return yield* new UsageError({ message: "--interval is for --watch: add that, or leave --interval out." })
    }
    const output = yield* Output
    if (!watch) {
      const reading = yield* readingOf(endpoint)
      return yield* output.one(dataOf(reading, diagnose), textOf(reading, diagnose))
    }
    const readings = Stream.repeatEffectWithSchedule(readingOf(endpoint), Schedule.spaced(interval ?? usualInterval))
    yield* output.each(
      readings,
      (reading) => dataOf(reading, diagnose),
      (reading) => `${textOf(reading, diagnose)}\n\n`
    )
  },
  (effect, args) => Effect.provide(effect, Client.layer(args))
)

interface PurgeArgs extends Client.Access {
  readonly endpoint: string
  readonly yes: boolean
}

export const purge = Effect.fnUntraced(
  function* ({ endpoint, yes }: PurgeArgs) {
    if (!yes) {
      return yield* new UsageError({
        message: `This removes all queued jobs of ${endpoint}, those of other programs, too. Add --yes to do it.`
      })
    }
    const output = yield* Output
    const { purgeQueue } = yield* RunPod.RunPod
    const { removed } = yield* purgeQueue(endpoint)
    yield* output.one({ removed: removed ?? null }, removed === undefined ? "purged" : `${removed} jobs removed`)
  },
  (effect, args) => Effect.provide(effect, Client.layer(args))
)
