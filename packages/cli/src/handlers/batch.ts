import { FileSystem } from "@effect/platform/FileSystem"
import * as Batch from "effect-runpod/Batch"
import type { BatchStoppedError } from "effect-runpod/BatchError"
import * as Cost from "effect-runpod/Cost"
import * as Endpoint from "effect-runpod/Endpoint"
import * as Files from "effect-runpod/Files"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as DurationValues from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { InputFormat } from "../batch/formats.js"
import { begin, check as checkInputs, type Inputs, keyIn } from "../batch/inputs.js"
import { openJournal } from "../batch/journal.js"
import { rowsTo, rowText, tellBeside } from "../batch/outcomes.js"
import { checkFiles, checkOptions, type OfThisRun, type Plan, reach, sourceOf } from "../batch/plan.js"
import * as Recipes from "../batch/recipe.js"
import { rowData, rowOf, Tally } from "../batch/tally.js"
import * as Client from "../shell/client.js"
import { Unsuccessful, UsageError } from "../shell/errors.js"
import { isStdout } from "../shell/files.js"
import type { JsonObject } from "../shell/input.js"
import * as Output from "../shell/output.js"
import * as Progress from "../shell/progress.js"
import { commandOf, Stopping } from "../shell/stopping.js"
import { exitCodes } from "../spec/statuses.js"

/** What may be chosen anew when a batch is resumed. */
interface Bounds extends Client.Access {
  readonly out: string | undefined
  readonly concurrency: number | undefined
  readonly maxFailures: number | undefined
  readonly deadline: Duration.Duration | undefined
  readonly maxCost: number | undefined
  readonly rate: number | undefined
  readonly expectedExecution: Duration.Duration | undefined
}

interface RunArgs extends Bounds, OfThisRun {
  readonly endpoint: string
  readonly inputs: string
  readonly format: InputFormat | undefined
  readonly key: string | undefined
  readonly journal: string | undefined
  readonly timeout: Duration.Duration | undefined
  readonly executionTimeout: Duration.Duration | undefined
  readonly ttl: Duration.Duration | undefined
  readonly retries: number | undefined
}

interface ResumeArgs extends Bounds, OfThisRun {
  readonly journal: string
  readonly inputs: string | undefined
}

/** The GPU that `--rate` is the rate of: which one it is does not matter. */
const gpu = "worker"

const costOf = ({ expectedExecution, rate }: Recipes.Recipe) =>
  rate === undefined
    ? Layer.empty
    : Cost.layer({ rates: Cost.rates({ [gpu]: { flex: rate } }), gpu, expectedExecution })

/** What goes on, and how to resume, when the batch is stopped. */
const stopLines = (
  { counts }: Batch.Tracker,
  { inputs }: Recipes.Recipe,
  journal: string | undefined
): ReadonlyArray<string> => {
  const { inFlight } = counts
  const items = `${inFlight} ${inFlight === 1 ? "item" : "items"} in flight`
  if (journal === undefined) {
    if (inFlight === 0) return []
    return [
      `${items}: an interrupted batch without --journal cancels their jobs. Who leaves before that has ended lets them go on at RunPod.`
    ]
  }
  const command = commandOf("batch", "resume", journal, ...(inputs === "-" ? ["-"] : []))
  return [
    ...(inFlight === 0 ? [] : [`${items}: those that have a job by now go on at RunPod.`]),
    `  resume: ${command}${inputs === "-" ? " < the same inputs" : ""}`
  ]
}

/** Shows how far the batch is, while it runs. */
const showing = <A, E, R>(effect: Effect.Effect<A, E, R>, tracker: Batch.Tracker) =>
  Effect.gen(function* () {
    const { mode, update } = yield* Progress.Progress
    if (mode === "none") return yield* effect
    const draw = Stream.runForEach(Batch.progress(tracker, { interval: "500 millis" }), (progress) => {
      const { elapsed, eta, ...counts } = progress
      const times = {
        elapsed: DurationValues.toMillis(elapsed),
        ...(eta === undefined ? {} : { eta: DurationValues.toMillis(eta) })
      }
      return update(inWords(progress), { type: "progress", ...counts, ...times }, progress.ended)
    })
    return yield* Effect.acquireUseRelease(
      Effect.fork(Effect.interruptible(draw)),
      () => effect,
      // Its last state may still be drawn.
      (fiber) =>
        Effect.zipRight(
          Effect.timeoutOption(Effect.interruptible(Fiber.await(fiber)), "1 second"),
          Fiber.interrupt(fiber)
        )
    )
  })

const inWords = ({ done, elapsed, ended, eta, failed, inFlight, rate, total }: Batch.Progress): string => {
  const seconds = (time: Duration.Duration) => `${Math.round(DurationValues.toSeconds(time))} s`
  return [
    total === undefined ? `${done} done` : `${done} of ${total} done`,
    ...(failed === 0 ? [] : [`${failed} failed`]),
    ...(ended ? [] : [`${inFlight} in flight`]),
    ...(ended || rate === 0 ? [] : [`${rate.toFixed(1)}/s`]),
    ended || eta === undefined ? `after ${seconds(elapsed)}` : `${seconds(eta)} left`
  ].join(", ")
}

/** What the whole means for the status: doubt before failure, since doubt asks for somebody who looks. */
const checkEnd = (tally: Tally, endpoint: string, journal: string | undefined) => {
  const ambiguous = tally.countOf("SubmitAmbiguousError")
  if (ambiguous > 0) {
    const look = commandOf("jobs", "orphans", endpoint, ...(journal === undefined ? [] : [journal]))
    const message = `Of ${ambiguous} items it is not known whether their jobs were started. Look for them before you submit them again: ${look}`
    return new Unsuccessful({ code: exitCodes.ambiguous, message })
  }
  return tally.failed === 0
    ? Effect.void
    : new Unsuccessful({ code: exitCodes.jobFailed, message: `${tally.failed} items failed.` })
}

const usd = (amount: number): string => `$${amount.toFixed(amount < 1 ? 4 : 2)}`

/** Why the batch has stopped, in the words of its options. */
const stoppedBy = ({ budget, reason, settled }: BatchStoppedError): Unsuccessful => {
  const says = {
    Deadline: "--deadline has passed.",
    Failures: "as many items failed as --max-failures allows.",
    Budget:
      budget === undefined
        ? "--max-cost has no room for the next job."
        : `--max-cost has no room for the next job (${usd(budget.spent)} of ${usd(budget.maxCost)} were spent, and the next may cost ${usd(budget.next)}). Raise it to go on. Workers that start or wait for work cost more, which --max-cost does not bound.`
  }
  return new Unsuccessful({
    code: exitCodes.stopped,
    message: `The batch stopped after ${settled} outcomes: ${says[reason]}`
  })
}

const optionsOf = (
  recipe: Recipes.Recipe,
  { resubmitAmbiguous, retryFailed }: OfThisRun
): Batch.Options<JsonObject> => {
  const {
    concurrency,
    deadline,
    executionTimeout,
    expectedExecution,
    key,
    maxCost,
    maxFailures,
    retries,
    timeout,
    ttl
  } = recipe
  const hasPolicy = executionTimeout !== undefined || ttl !== undefined
  return {
    concurrency,
    deadline,
    expectedExecution,
    maxCost,
    maxFailures,
    retries,
    timeout,
    ...(key === undefined ? {} : { key: (input) => keyIn(input, key) ?? "" }),
    ...(hasPolicy ? { policy: { executionTimeout, ttl } } : {}),
    ...(retryFailed ? { onFailed: "resubmit" } : {}),
    ...(resubmitAmbiguous ? { onAmbiguous: "resubmit" } : {})
  }
}

/** What has to be known before the old outcomes in `--out` are given up. */
interface Known {
  /** All inputs have been read, and make sense. */
  readonly isRead: boolean
  /** RunPod has told of the endpoint. */
  readonly isReached: boolean
}

const work = Effect.fnUntraced(function* (plan: Plan, inputs: Inputs<never>, known: Known) {
  const { journal: journalFile, ofThisRun, recipe } = plan
  const tracker = yield* Batch.tracker
  const { say } = yield* Stopping
  const rows = yield* rowsTo(recipe.out)
  const journal = yield* openJournal(plan)
  const endpoint = yield* Endpoint.make(recipe.endpoint, {
    input: Schema.Record({ key: Schema.String, value: Schema.Unknown }),
    output: Schema.Unknown
  })
  const tally = new Tally(recipe.endpoint, recipe.rate)
  yield* say(() => stopLines(tracker, recipe, journalFile))
  const [read, reached] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
  if (known.isRead) yield* Deferred.succeed(read, undefined)
  if (known.isReached) yield* Deferred.succeed(reached, undefined)
  const source = Stream.onDone(inputs, () => Deferred.succeed(read, undefined))
  const outcomes = Batch.run(endpoint, source, { ...optionsOf(recipe, ofThisRun), tracker, journal }).pipe(
    Stream.map(rowOf),
    Stream.tap((row) => {
      tally.add(row)
      return row.replayed || row.jobId === undefined ? Effect.void : Deferred.succeed(reached, undefined)
    })
  )
  const accepted = Effect.zipRight(Effect.zipRight(Deferred.await(read), Deferred.await(reached)), rows.accept)
  yield* Effect.zipRight(
    Effect.raceFirst(
      showing(rows.output.each(outcomes, rowData, rowText), tracker),
      Effect.zipRight(accepted, Effect.never)
    ),
    rows.accept
  ).pipe(
    Effect.catchTag("BatchStoppedError", stoppedBy),
    Effect.ensuring(Effect.zipRight(tell(tally, recipe.out), tellBeside(rows, recipe.out)))
  )
  yield* checkEnd(tally, recipe.endpoint, journalFile)
})

const execute = Effect.fnUntraced(function* (plan: Plan) {
  const { journal, ofThisRun, recipe } = plan
  yield* checkOptions(plan)
  yield* checkFiles(plan)
  const isRead = yield* checkInputs(sourceOf(plan))
  const key = yield* Client.keyOf({ keyFile: recipe.keyFile })
  const fs = yield* FileSystem
  const isNew = journal === undefined || !(yield* Effect.orElseSucceed(fs.exists(journal), () => true))
  const isReached = yield* Effect.provide(reach(recipe.endpoint, isNew), Client.layerWith(key))
  const inputs = yield* begin(sourceOf(plan))
  if (ofThisRun.record !== undefined) yield* Files.makeFolder(ofThisRun.record)
  const client = Client.recorded(Client.layerWith(key), ofThisRun.record)
  const known = { isRead, isReached }
  // Its own scope: the journal is closed before the client is.
  const done = Effect.scoped(work(plan, inputs, known))
  yield* Effect.provide(done, Layer.provideMerge(client, costOf(recipe)))
}, Effect.scoped)

/** What the batch came to: on stdout where that has no outcomes. */
const tell = (tally: Tally, out: string | undefined) =>
  Effect.gen(function* () {
    const output = yield* Output.Output
    const { mode } = yield* Progress.Progress
    if (out !== undefined && !isStdout(out)) return yield* output.one(tally.toJson(), tally.toText())
    if (mode === "jsonl") return Progress.say(Output.toJson({ type: "report", ...tally.toJson() }))
    if (mode !== "none") Progress.say(tally.toText())
  })

export const run = ({ force, journal, record, resubmitAmbiguous, retryFailed, ...recipe }: RunArgs) =>
  execute({ recipe, journal, ofThisRun: { force, record, resubmitAmbiguous, retryFailed } })

/** What was given, over what was noted. */
const over = <A extends object>(noted: A, given: Partial<A>): A => ({
  ...noted,
  ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
})

export const resume = Effect.fnUntraced(function* (args: ResumeArgs) {
  const { force, inputs, journal, record, resubmitAmbiguous, retryFailed } = args
  const { concurrency, deadline, expectedExecution, keyFile, maxCost, maxFailures, out, rate } = args
  const noted = yield* Recipes.read(journal)
  const given: Partial<Recipes.Recipe> = {
    concurrency,
    deadline,
    expectedExecution,
    keyFile,
    maxCost,
    maxFailures,
    out,
    rate
  }
  const recipe = over(noted, { ...given, ...(inputs === undefined ? {} : { inputs }) })
  if (recipe.inputs === "-" && inputs === undefined) {
    return yield* new UsageError({
      message: "The inputs came from stdin: give them again, as a file or with - for stdin."
    })
  }
  yield* execute({ recipe, journal, ofThisRun: { force, record, resubmitAmbiguous, retryFailed } })
})
