import * as BatchJournal from "effect-runpod/BatchJournal"
import * as Files from "effect-runpod/Files"
import * as Job from "effect-runpod/Job"
import * as RunPod from "effect-runpod/RunPod"
import type { RunPodError } from "effect-runpod/RunPodError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Client from "../shell/client.js"
import { Unsuccessful, UsageError } from "../shell/errors.js"
import { Output } from "../shell/output.js"
import { check, read } from "../shell/files.js"
import { dataOf, describe } from "./job.js"
import { readJournal } from "./journal.js"
import { exitCodes } from "../spec/statuses.js"

interface ListArgs extends Client.Access {
  readonly endpoint: string
  readonly status: string | undefined
}

export const list = Effect.fnUntraced(
  function* ({ endpoint, status }: ListArgs) {
    const output = yield* Output
    const { requests } = yield* RunPod.RunPod
    const jobs = yield* requests(endpoint)
    const wanted = jobs.filter((job) => status === undefined || job.status === status)
    yield* output.each(Stream.fromIterable(wanted), dataOf, (job) => `${describe(job)}\n`)
  },
  (effect, args) => Effect.provide(effect, Client.layer(args))
)

interface OrphanArgs extends Client.Access {
  readonly endpoint: string
  readonly journals: ReadonlyArray<string>
}

/** A job that runs or is queued, and that nobody with one of the journals waits for. */
interface Orphan {
  readonly job: Job.Job
  /** The journal it stands in: `batch resume` waits for it. Missing where no journal has it. */
  readonly journal: string | undefined
}

/** The jobs in flight of a journal, and whether a process has it, which waits for them. */
const inFlightOf = Effect.fnUntraced(function* (file: string, endpoint: string) {
  const { endpointId, items } = yield* readJournal(file)
  if (endpointId !== undefined && endpointId !== endpoint) {
    return yield* new UsageError({ message: `The journal ${file} is of endpoint ${endpointId}, not of ${endpoint}.` })
  }
  // Only who can have the journal knows that nobody has it.
  const isHeld = yield* BatchJournal.file(file).pipe(
    Effect.as(false),
    Effect.scoped,
    Effect.catchIf(
      (error) => error.reason === "Locked",
      () => Effect.succeed(true)
    )
  )
  return { file, isHeld, jobs: new Set(items.flatMap((item) => (item._tag === "Submitted" ? [item.jobId] : []))) }
})

const find = Effect.fnUntraced(function* ({ endpoint, journals }: Omit<OrphanArgs, "keyFile">) {
  yield* check(...journals.map((path) => read("a journal", path)))
  for (const path of journals) yield* Files.checkReadable(path)
  const { requests } = yield* RunPod.RunPod
  // Before the journals are read: what is submitted after this is no orphan.
  const running = (yield* requests(endpoint)).filter((job) => !Job.isTerminal(job))
  const known = yield* Effect.forEach(journals, (file) => inFlightOf(file, endpoint))
  const orphans = running.flatMap((job): ReadonlyArray<Orphan> => {
    const journal = known.find(({ jobs }) => jobs.has(job.id))
    return journal?.isHeld === true ? [] : [{ job, journal: journal?.file }]
  })
  return { orphans, held: known.filter(({ isHeld }) => isHeld).map(({ file }) => file) }
})

const orphanText = ({ job, journal }: Orphan): string =>
  `${describe(job)}${journal === undefined ? "" : ` in ${journal}, resume it`}\n`

export const orphans = Effect.fnUntraced(
  function* (args: OrphanArgs) {
    const output = yield* Output
    const found = yield* find(args)
    yield* output.each(
      Stream.fromIterable(found.orphans),
      ({ job, journal }) => ({ ...dataOf(job), journal: journal ?? null }),
      orphanText
    )
  },
  (effect, args) => Effect.provide(effect, Client.layer(args))
)

interface SweepArgs extends OrphanArgs {
  readonly minAge: Duration.Duration | undefined
  readonly concurrency: number | undefined
  readonly yes: boolean
}

/** How long a job has been known to run or wait, as far as RunPod tells. */
const ageOf = ({ delayTime = 0, executionTime = 0 }: Job.Job): number => delayTime + executionTime

const cancelled = (
  job: Job.Job,
  result: { readonly _tag: "Right" } | { readonly _tag: "Left"; readonly left: RunPodError }
) => ({
  id: job.id,
  cancelled: result._tag === "Right",
  ...(result._tag === "Left" ? { error: result.left._tag, message: result.left.message } : {})
})

export const sweep = Effect.fnUntraced(
  function* ({ concurrency = 10, endpoint, journals, minAge = Duration.zero, yes }: SweepArgs) {
    const output = yield* Output
    const { cancel } = yield* RunPod.RunPod
    const { held, orphans } = yield* find({ endpoint, journals })
    if (held.length > 0) {
      // The job of a submit that is just being answered does not stand in the journal yet.
      return yield* new UsageError({
        message: `A process has ${held.join(", ")}, and may be submitting jobs. Stop it or wait for its end, so that none of them is cancelled.`
      })
    }
    const found = orphans.filter(({ job, journal }) => journal === undefined && ageOf(job) >= Duration.toMillis(minAge))
    if (!yes) {
      return yield* new UsageError({
        message: `This cancels ${found.length} jobs of ${endpoint} that are in none of the journals, those of other programs, too. Add --yes to do it.`
      })
    }
    let failed = 0
    const results = Stream.fromIterable(found).pipe(
      Stream.mapEffect(
        ({ job }) => Effect.map(Effect.either(cancel(endpoint, job.id)), (result) => cancelled(job, result)),
        {
          concurrency
        }
      ),
      Stream.tap((result) => Effect.sync(() => void (failed += result.cancelled ? 0 : 1)))
    )
    yield* output.each(
      results,
      (result) => result,
      ({ cancelled, id, message }) => `${id} ${cancelled ? "cancelled" : `not cancelled: ${message}`}\n`
    )
    if (failed > 0) yield* new Unsuccessful({ code: exitCodes.failure, message: `${failed} jobs were not cancelled.` })
  },
  (effect, args) => Effect.provide(effect, Client.layer(args))
)
