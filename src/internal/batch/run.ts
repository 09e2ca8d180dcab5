import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type BatchJournalError, BatchStoppedError, type RunError } from "../../errors/BatchError.js"
import type { BadRequestError } from "../../errors/RunPodError.js"
import type { Inputs, Options, Outcome, Tracker } from "../../services/Batch.js"
import type { BatchJournal } from "../../services/BatchJournal.js"
import type { Endpoint } from "../../services/Endpoint.js"
import { failureOf } from "../effect/cause.js"
import { sleepUntil } from "../pace/monotonic.js"
import * as Timer from "../pace/timer.js"
import { inJobSpan, type JobSpan } from "../telemetry/jobSpan.js"
import { record } from "../telemetry/record.js"
import { defined } from "../text/json.js"
import type { Scrub } from "../text/scrub.js"
import { BatchRun, type Ended, type Failed, type ItemEnd } from "./batchRun.js"
import { ahead, forEachInput, type Indexed, sizeOf, toStream } from "./inputs.js"
import * as Item from "./item.js"
import * as Progress from "./progress.js"
import { Resume } from "./resume.js"
import { concurrencyOf, indexAsKey, inSpan, kindOf, outputOf, supervise } from "./rules.js"
import { type OnWork, Spend } from "./spend.js"

/** A batch, and where its outcomes go. */
export interface Batch<I, O, P, C, E> {
  readonly endpoint: Endpoint<I, O, P, C>
  readonly inputs: Inputs<I, E>
  readonly options: Options<I>
  readonly emit: (outcome: Outcome<I, O>) => Effect.Effect<unknown>
  /** Hears of work on workers. */
  readonly onWork?: OnWork | undefined
}

/** An input with its name. */
interface Taken<out I> extends Indexed<I>, Pick<Item.ItemInput<I>, "takeNext"> {
  readonly key: string
}

/** Tells of what the job of an outcome did on its worker. */
const tellWork = <I, O, P, C>({ onWork }: Spend, end: Ended<O, P, C> | Failed, { result }: Outcome<I, O>): void => {
  if (end._tag === "Failed") {
    // Where something may have been started, nobody knows for how long it ran.
    if (end.attempts > 0) onWork({ end: "Failed" }, "This")
    return
  }
  const { job, replayed, startedAt } = end
  onWork({ ...job, startedAt, end: Exit.isSuccess(result) ? "Completed" : "Failed" }, replayed ? "Earlier" : "This")
}

const outcomeOf = <I, O, P, C>({ index, input, key }: Taken<I>, end: Ended<O, P, C> | Failed) => {
  const facts = { index, key, input, attempts: end.attempts }
  if (end._tag === "Failed") {
    const { error, jobId } = end
    return Effect.succeed({ ...facts, replayed: false, result: Exit.fail(error), ...defined({ jobId }) })
  }
  const { handle, job, replayed, result } = end
  const { delayTime, executionTime, id: jobId } = job
  return Effect.map(result === undefined ? Effect.exit(outputOf(handle, job)) : Effect.succeed(result), (result) => ({
    ...facts,
    replayed,
    result,
    jobId,
    ...defined({ delayTime, executionTime })
  }))
}

/** Puts on the span of an item what became of it. */
const describe = <I, O, P, C>(
  span: JobSpan,
  end: Ended<O, P, C> | Failed,
  { attempts, result }: Outcome<I, O>,
  scrub: Scrub
) => {
  span.set({ "runpod.attempts": attempts })
  if (end._tag === "Ended" && end.replayed) span.onJob(end.job, "replay", scrub)
  if (end._tag === "Ended") span.linkTo(end.handle.trace)
  if (Exit.isFailure(result)) span.fail(failureOf(result.cause))
}

/** Counts an outcome, and stops the batch when it was one failure too many. */
const count = <I, O, P, C>(run: BatchRun<I, O, P, C>, { counts }: Tracker, { replayed, result }: Outcome<I, O>) =>
  Effect.suspend(() => {
    run.settled++
    counts.done++
    if (replayed) counts.replayed++
    const counted = record(run.endpoint.id, ({ batchItems }, labels) =>
      batchItems(kindOf(result)).unsafeUpdate(1, labels)
    )
    if (Exit.isSuccess(result)) return counted
    counts.failed++
    if (replayed || ++run.failures < (run.options.maxFailures ?? Infinity)) return counted
    run.halt({ _tag: "Option", reason: "Failures" })
    return counted
  })

/** An input has no outcome. */
const leaveOut = ({ counts }: Tracker): void => {
  if (counts.total !== undefined) counts.total--
}

const begin = <I, O, P, C, E>(
  { endpoint, inputs, options }: Batch<I, O, P, C, E>,
  run: BatchRun<I, O, P, C>,
  tracker: Tracker
): Effect.Effect<Resume<I, O, P, C> | undefined, BatchJournalError | BadRequestError, Scope.Scope> =>
  Effect.gen(function* () {
    const { journal, key = indexAsKey } = options
    tracker.counts.total = sizeOf(inputs) ?? tracker.counts.total
    let resume: Resume<I, O, P, C> | undefined
    if (journal !== undefined) {
      yield* journal.begin(endpoint.id)
      yield* run.spend.load(journal)
      resume = new Resume(run, journal)
      const found = Array.isArray(inputs) ? yield* resume.checkAll(inputs, key) : undefined
      const earlier = yield* journal.submitted
      yield* resume.announce(earlier.length, found)
      if (earlier.length > 0) yield* Effect.forkScoped(resume.collect(earlier))
    }
    if (run.deadline !== Infinity) {
      yield* Effect.forkScoped(Effect.map(sleepUntil(run.deadline), () => run.isHalted()))
    }
    const newJob = { age: 0, queuedAt: 0, delayTime: 0 }
    yield* Progress.begin(tracker, {
      endpointId: endpoint.id,
      startedAt: run.startedAt,
      health: endpoint.health,
      usualExecution: () => endpoint.runtime?.remaining(endpoint.id, newJob)
    })
    return resume
  })

const driveIn = <I, O, P, C, E>(batch: Batch<I, O, P, C, E>, run: BatchRun<I, O, P, C>, tracker: Tracker) =>
  Effect.gen(function* () {
    const { emit, endpoint, inputs, options } = batch
    const keyOf = options.key ?? indexAsKey
    const concurrency = concurrencyOf(endpoint, inputs, options.concurrency)
    const resume = yield* begin(batch, run, tracker)

    const endOf = ({ input, key, takeNext }: Taken<I>, trace: string | undefined): Effect.Effect<ItemEnd<O, P, C>> =>
      resume === undefined
        ? Item.fresh(run, { item: { key, hash: "", ...defined({ trace }) }, input, takeNext })
        : resume.end(input, { key, trace, takeNext })

    const outcomeIn = (taken: Taken<I>) => (span: JobSpan | undefined) =>
      Effect.gen(function* () {
        run.inFlight++
        tracker.counts.inFlight++
        const end = yield* endOf(taken, span?.trace)
        run.inFlight--
        tracker.counts.inFlight--
        if (end._tag === "Open") return undefined
        const outcome = yield* outcomeOf(taken, end)
        tellWork(run.spend, end, outcome)
        if (span !== undefined) describe(span, end, outcome, run.scrub)
        return outcome
      })

    const use = (indexed: Indexed<I>, takeNext: () => void): Effect.Effect<void> =>
      Effect.gen(function* () {
        if (run.isHalted()) return
        const taken = { ...indexed, key: keyOf(indexed.input, indexed.index), takeNext }
        if (options.accept !== undefined && !(yield* options.accept(taken.input, taken.key))) {
          return leaveOut(tracker)
        }
        const outcome = yield* resume?.isFollowed(taken.key) === true
          ? outcomeIn(taken)(undefined)
          : inJobSpan("Batch.item", { endpointId: endpoint.id, isItem: true }, outcomeIn(taken))
        if (outcome === undefined) return
        // Whoever reads the outcomes may wait for a batch that shares `ahead`.
        takeNext()
        yield* count(run, tracker, outcome)
        yield* emit(outcome)
      })

    let inputError: Option.Option<E> = Option.none()
    // The failure of the inputs is their end: what was taken before goes on.
    const taken = Stream.catchAll(toStream(inputs), (error) => {
      inputError = Option.some(error)
      return Stream.empty
    })
    yield* forEachInput(taken, { concurrency, ahead: options.ahead ?? ahead(), use, stopped: run.stopped })
    run.isOver = true
    const { settled, stop } = run
    if (stop?._tag === "Error") return yield* Effect.fail(stop.error)
    if (Option.isSome(inputError)) return yield* Effect.fail(inputError.value)
    if (stop === undefined) return
    const { budget, reason } = stop
    return yield* Effect.fail(new BatchStoppedError({ endpointId: endpoint.id, reason, settled, budget }))
  })

/** Says after an interruption what a journal is for: that jobs go on, and how to get at their results. */
const sayWhatGoesOn = (endpointId: string, journal: BatchJournal) =>
  Effect.flatMap(
    Effect.orElseSucceed(journal.submitted, () => []),
    ({ length }) => {
      const goOn = ["none of its jobs goes on", "1 of its jobs goes on"][length] ?? `${length} of its jobs go on`
      return Effect.logWarning(
        `The batch on endpoint ${endpointId} was interrupted, and ${goOn} at RunPod. Run it again with the same journal: it collects what went on, and does the rest.`
      )
    }
  )

/** Runs a batch to its end. What stops it ends the taking of inputs; jobs in flight are followed to their ends. */
export const drive = <I, O, P, C, E>(
  batch: Batch<I, O, P, C, E>
): Effect.Effect<void, RunError<E> | BatchStoppedError> =>
  Effect.gen(function* () {
    const { endpoint, options } = batch
    const tracker = options.tracker ?? (yield* Progress.tracker)
    const spend = yield* Spend.make(endpoint, options, batch.onWork)
    const run = new BatchRun(endpoint, options, yield* Effect.clock, spend, yield* Timer.make)
    // Whoever follows a batch that never began hears of its end, too.
    return yield* supervise(endpoint, Effect.scoped(driveIn(batch, run, tracker))).pipe(
      Effect.ensuring(
        Effect.suspend(() => {
          // Items that were interrupted, or have died, have not counted themselves out.
          tracker.counts.inFlight -= run.inFlight
          return Progress.end(tracker)
        })
      ),
      Effect.onInterrupt(() =>
        options.journal === undefined ? Effect.void : sayWhatGoesOn(endpoint.id, options.journal)
      )
    )
  }).pipe(Effect.scoped, inSpan("Batch.run", batch.endpoint.id))

export const run = <I, O, P, C, E = never>(
  endpoint: Endpoint<I, O, P, C>,
  inputs: Inputs<I, E>,
  options: Options<I> = {}
): Stream.Stream<Outcome<I, O>, RunError<E> | BatchStoppedError> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      const outcomes = yield* Mailbox.make<Outcome<I, O>, RunError<E> | BatchStoppedError>(16)
      const emit = (outcome: Outcome<I, O>) => outcomes.offer(outcome)
      yield* Effect.forkScoped(Effect.onExit(drive({ endpoint, inputs, options, emit }), (exit) => outcomes.done(exit)))
      return Mailbox.toStream(outcomes)
    })
  )
