import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import { BatchJournalError } from "../../errors/BatchError.js"
import { fromJob, isJobError, type JobError } from "../../errors/JobError.js"
import type { RunPodError } from "../../errors/RunPodError.js"
import * as JobId from "../../schemas/JobId.js"
import type * as JournalEntry from "../../schemas/JournalEntry.js"
import type { BatchJournal } from "../../services/BatchJournal.js"
import { failureOf } from "../effect/cause.js"
import { monotonicAt } from "../pace/monotonic.js"
import { inJobSpan } from "../telemetry/jobSpan.js"
import { defined, describeJson } from "../text/json.js"
import { identityOf } from "../text/losslessJson.js"
import { sha256 } from "../text/sha256.js"
import { type BatchRun, type Ended, type ItemEnd, open, type Open, withEarlier, withEarlierTime } from "./batchRun.js"
import * as Item from "./item.js"
import * as BatchJob from "./job.js"
import { outputOf, waitConcurrency } from "./rules.js"
import { inSpanOf, type Spanned, takeTurns } from "./wait.js"

/** A job of an earlier run is looked at for so long, or as long as its `timeout` is, even if its time is over. */
const lastLook = 60_000

const inputChanged = (key: string) => {
  const detail =
    "the journal knows another input under this key. Use the inputs it was made with, keys that follow the inputs, or a new journal."
  return new BatchJournalError({ reason: "InputChanged", key, detail })
}

const duplicateKey = (key: string) => {
  const detail = "two inputs of this run have this key. Give `key` a function that tells them apart."
  return new BatchJournalError({ reason: "DuplicateKey", key, detail })
}

/** How the inputs of a run stand in its journal. */
interface Found {
  readonly inputs: number
  readonly settled: number
  readonly submitted: number
  /** Whether a job was started for them is not known. */
  readonly intended: number
}

/** How the job of an item has ended, for its span. */
const exitOf = <O, P, C>(end: ItemEnd<O, P, C>, run: BatchRun<never, O, P, C>) => {
  if (end._tag === "Open") return Exit.interrupt(FiberId.none)
  const error = end._tag === "Failed" ? end.error : fromJob(run.endpoint.id, end.job, run.scrub)
  return error === undefined ? Exit.void : Exit.fail(error)
}

/** What an earlier run has noted of a settled item. */
interface Replayed<O, P, C> {
  readonly end: Ended<O, P, C> | Open
  readonly earlierExecutionTime?: number | undefined
}

/** The end of an item with all of its attempts, those of earlier jobs counted. */
const inAll = <O, P, C>({ item: { earlier = 0 } }: Item.ItemInput<unknown>, end: ItemEnd<O, P, C>): ItemEnd<O, P, C> =>
  end._tag === "Open" || earlier === 0 ? end : { ...end, attempts: earlier + end.attempts }

/** The error of a job that has ended badly; none of one that has not, or of which nobody could read the end. */
const failureOfJob = (result: Exit.Exit<unknown, RunPodError | JobError>): JobError | undefined => {
  const error = Exit.isFailure(result) ? failureOf(result.cause) : undefined
  return isJobError(error) && error._tag !== "WaitTimeoutError" ? error : undefined
}

/** Why a key cannot name an item. `key` is a function of the caller's, which types need not hold to. */
const keyProblem = (key: unknown): BatchJournalError | undefined => {
  const what =
    typeof key !== "string"
      ? describeJson(key)
      : key === ""
        ? "an empty string"
        : key.isWellFormed()
          ? undefined
          : "a string that is no well-formed Unicode"
  if (what === undefined) return undefined
  const detail = `\`key\` gave ${what} for an input. Give it a function that returns a name for each.`
  return new BatchJournalError({ reason: "InvalidKey", detail })
}

/** What an earlier run with the same journal left, and the keys that this one has seen. */
export class Resume<I, O, P, C> {
  private readonly keys = new Set<string>()
  /** The jobs of the earlier run, by the keys of their items. */
  private readonly ends = new Map<string, Deferred.Deferred<ItemEnd<O, P, C>>>()

  constructor(
    private readonly run: BatchRun<I, O, P, C>,
    private readonly journal: BatchJournal
  ) {}

  /** Looks for what does not fit before anything is sent, where the inputs can be gone through twice. */
  checkAll(
    inputs: ReadonlyArray<I>,
    keyOf: (input: I, index: number) => string
  ): Effect.Effect<Found, BatchJournalError> {
    return Effect.gen(this, function* () {
      const keys = new Set<string>()
      const states = { Settled: 0, Submitted: 0, Intent: 0, Released: 0 }
      for (const [index, input] of inputs.entries()) {
        const key = keyOf(input, index)
        const problem = keyProblem(key)
        if (problem !== undefined) return yield* Effect.fail(problem)
        if (keys.has(key)) return yield* Effect.fail(duplicateKey(key))
        keys.add(key)
        const state = yield* this.journal.find(key)
        if (Option.isNone(state)) continue
        states[state.value._tag]++
        const hash = yield* this.hashOf(input)
        if (Either.isRight(hash) && this.isChanged(state.value, hash.right))
          return yield* Effect.fail(inputChanged(key))
      }
      const { Intent: intended, Settled: settled, Submitted: submitted } = states
      return { inputs: inputs.length, settled, submitted, intended }
    })
  }

  /** The SHA-256 of what an input is sent as; empty where the journal has the inputs. */
  private hashOf(input: I): Effect.Effect<Either.Either<string, RunPodError>> {
    if (this.journal.hasInputs === true) return Effect.succeed(Either.right(""))
    const { encode = Effect.succeed<unknown> } = this.run.endpoint
    return Effect.either(Effect.map(encode(input), (encoded) => sha256(identityOf(encoded))))
  }

  /** What is empty is compared with nothing. */
  private isChanged(state: JournalEntry.State, hash: string): boolean {
    return hash !== "" && state.hash !== "" && state.hash !== hash
  }

  /** Says what this run goes on with; `jobs` is how many of an earlier one are waited for. */
  announce(jobs: number, found: Found | undefined): Effect.Effect<void> {
    const { endpoint, options } = this.run
    const goesOn = `The batch on endpoint ${endpoint.id} goes on from its journal`
    if (found === undefined) {
      return jobs === 0 ? Effect.void : Effect.logInfo(`${goesOn}: ${jobs} still at RunPod, which it waits for`)
    }
    const { inputs, intended, settled, submitted } = found
    const mayRunAgain = (options.onFailed ?? "report") === "report" ? "" : " (failed ones may run again: `onFailed`)"
    const known = settled + submitted + intended
    if (known === 0) return Effect.void
    return Effect.logInfo(
      [
        `${goesOn}: ${settled} settled${mayRunAgain}`,
        `${submitted} still at RunPod`,
        ...(intended === 0 ? [] : [`${intended} that may have been submitted`]),
        `${inputs - known} to submit`
      ].join(", ")
    )
  }

  /** The job of an earlier run. */
  private jobOf(entry: JournalEntry.Submitted): BatchJob.BatchJob<I, O, P, C> {
    const { run } = this
    const { at, attempts, earlier, earlierExecutionTime, hash, jobId, key, trace } = entry
    const room = run.spend.adopt()
    const submittedAt = monotonicAt(run.clock, at)
    const until = Math.min(
      run.deadline,
      Math.max(submittedAt + run.timeout, run.now() + Math.min(lastLook, run.timeout))
    )
    const handle = run.attach(jobId, { submittedAt: at, trace })
    const item = { key, hash, ...defined({ earlier, earlierExecutionTime, trace }) }
    return BatchJob.started({ run, item, handle, room, submittedAt, until, attempts })
  }

  /** Follows the jobs of an earlier run, whether their inputs have come already or not. */
  collect(entries: ReadonlyArray<JournalEntry.Submitted>): Effect.Effect<void> {
    const { run } = this
    const jobs = entries.map((entry) => {
      const end = Deferred.unsafeMake<ItemEnd<O, P, C>>(FiberId.none)
      this.ends.set(entry.key, end)
      const job = this.jobOf(entry)
      const spanned: Spanned = { handle: job.handle }
      return { job, end, spanned }
    })
    const turns = takeTurns(jobs, {
      concurrency: waitConcurrency,
      until: run.deadline,
      onInterrupt: ({ job }) => BatchJob.abandon(job),
      turn: ({ end, job, spanned }, millis) =>
        inSpanOf(spanned, millis === Infinity ? BatchJob.follow(job) : BatchJob.turn(job, millis)).pipe(
          Effect.onInterrupt(() => BatchJob.abandon(job)),
          Effect.flatMap((ended) => {
            if (ended === undefined) return Effect.succeed(false)
            spanned.span?.set({ "runpod.attempts": job.attempts })
            spanned.span?.end(exitOf(ended, run))
            return Effect.as(Deferred.succeed(end, ended), true)
          })
        )
    })
    return Effect.onExit(turns, (exit) => {
      for (const { spanned } of jobs) spanned.span?.end(exit)
      return Exit.isSuccess(exit)
        ? Effect.void
        : Effect.forEach(this.ends.values(), (end) => Deferred.failCause(end, exit.cause), { discard: true })
    })
  }

  /** Whether the item's job is of an earlier run, and followed already. */
  isFollowed(key: string): boolean {
    return this.ends.has(key)
  }

  /** Goes on with an item where the journal says that it stands. */
  end(
    input: I,
    { key, takeNext, trace }: Pick<JournalEntry.Intent, "key" | "trace"> & Pick<Item.ItemInput<I>, "takeNext">
  ): Effect.Effect<ItemEnd<O, P, C>> {
    return Effect.gen(this, function* () {
      const { journal, keys, run } = this
      const problem = keyProblem(key)
      if (problem !== undefined) return yield* run.openWith(problem)
      const hash = yield* this.hashOf(input)
      if (hash._tag === "Left") return { _tag: "Failed", error: hash.left, attempts: 0 }
      if (keys.has(key)) return yield* run.openWith(duplicateKey(key))
      keys.add(key)
      const found = yield* Effect.either(journal.find(key))
      if (found._tag === "Left") return yield* run.openWith(found.left)
      const unknown = { key, hash: hash.right, ...defined({ trace }) }
      if (Option.isNone(found.right)) return yield* Item.fresh(run, { item: unknown, input, takeNext })
      const state = found.right.value
      if (this.isChanged(state, hash.right)) return yield* run.openWith(inputChanged(key))
      if (state._tag === "Settled") return yield* this.settled({ item: unknown, input, takeNext })
      const { earlier, earlierExecutionTime } = state
      this.tellEarlier(earlierExecutionTime)
      if (state._tag !== "Released") takeNext()
      const item = { item: { ...unknown, ...defined({ earlier, earlierExecutionTime }) }, input, takeNext }
      return yield* state._tag === "Intent" ? this.inDoubt(item, state) : this.goOn(item, state)
    })
  }

  private goOn(
    item: Item.ItemInput<I>,
    state: Exclude<JournalEntry.State, { readonly _tag: "Settled" }>
  ): Effect.Effect<ItemEnd<O, P, C>> {
    switch (state._tag) {
      case "Released":
        return Effect.map(Item.fresh(this.run, item), (end) => inAll(item, end))
      case "Intent":
        return this.intended(item, state)
      case "Submitted":
        return this.collected(item, state)
    }
  }

  /** An earlier run whose process lives may still tell of the job. */
  private inDoubt(item: Item.ItemInput<I>, intent: JournalEntry.Intent): Effect.Effect<ItemEnd<O, P, C>> {
    const { journal, run } = this
    if (journal.awaitJob === undefined) return this.intended(item, intent)
    const told = Effect.matchEffect(journal.awaitJob(item.item.key), {
      onFailure: (error) => run.openWith(error),
      onSuccess: (found) => {
        const state = Option.getOrElse(found, () => intent)
        return state._tag === "Settled" ? this.settled(item) : this.goOn(item, state)
      }
    })
    const failed = Effect.flatMap(Deferred.await(run.stopped), () =>
      run.stop?._tag === "Error" ? Effect.succeed(open) : Effect.never
    )
    return Effect.raceFirst(told, failed)
  }

  /** Tells of the time that attempts of an earlier run took which others followed. */
  private tellEarlier(executionTime: number | undefined): void {
    if (executionTime !== undefined) this.run.spend.onWork({ executionTime, end: "Retried" }, "Earlier")
  }

  /**
   * Submits an item again, for which jobs were started so many times after the `earlier` ones, and took so long, where that is
   * known: in the span of the item, or, where its job was followed in one that has ended, in another.
   */
  private again(
    { input, item, takeNext }: Item.ItemInput<I>,
    attempts: number,
    took?: number
  ): Effect.Effect<ItemEnd<O, P, C>> {
    const { run } = this
    return inJobSpan("Batch.item", { endpointId: run.endpoint.id, isItem: true }, (span) => {
      const traced = { ...withEarlier(item, attempts, took), ...defined({ trace: span?.trace }) }
      const again = { input, item: traced, takeNext }
      return Effect.map(Item.fresh(run, again), (end) => {
        const all = inAll(again, end)
        if (all._tag === "Open") return all
        span?.set({ "runpod.attempts": all.attempts })
        const exit = exitOf(all, run)
        if (Exit.isFailure(exit)) span?.fail(failureOf(exit.cause))
        return all
      })
    })
  }

  private intended(item: Item.ItemInput<I>, intent: JournalEntry.Intent): Effect.Effect<ItemEnd<O, P, C>> {
    const { run } = this
    return Effect.flatMap(Item.fromIntent(run, item, intent), (end) => {
      const isAmbiguous = end._tag === "Failed" && end.error._tag === "SubmitAmbiguousError"
      return isAmbiguous && run.options.onAmbiguous === "resubmit"
        ? this.again(item, end.attempts)
        : Effect.succeed(inAll(item, end))
    })
  }

  /** Follows a job that an earlier run has told of since this one began. */
  private followed(entry: JournalEntry.Submitted): Effect.Effect<ItemEnd<O, P, C>> {
    return Effect.suspend(() => {
      const job = this.jobOf(entry)
      return Effect.onInterrupt(BatchJob.follow(job), () => BatchJob.abandon(job))
    })
  }

  private collected(item: Item.ItemInput<I>, entry: JournalEntry.Submitted): Effect.Effect<ItemEnd<O, P, C>> {
    const { run } = this
    const end = this.ends.get(entry.key)
    return Effect.flatMap(end === undefined ? this.followed(entry) : Deferred.await(end), (end) => {
      const isExpired = end._tag === "Failed" && end.error._tag === "JobNotFoundError"
      return isExpired && run.options.onExpired === "resubmit"
        ? this.again(item, end.attempts)
        : Effect.succeed(inAll(item, end))
    })
  }

  /** Gives the outcome of an earlier run, or submits the item again if that is a failure that `onFailed` wants to see no more. */
  private settled(item: Item.ItemInput<I>): Effect.Effect<ItemEnd<O, P, C>> {
    return Effect.gen(this, function* () {
      const { options, spend } = this.run
      const { onFailed = "report" } = options
      const { earlierExecutionTime, end } = yield* this.replay(item.item.key)
      this.tellEarlier(earlierExecutionTime)
      if (onFailed === "report" || end._tag === "Open") return end
      const result = yield* Effect.exit(outputOf(end.handle, end.job))
      const error = failureOfJob(result)
      if (error !== undefined && (onFailed === "resubmit" || onFailed(error))) {
        const { job, startedAt } = end
        spend.onWork({ ...job, startedAt, end: "Retried" }, "Earlier")
        const before = { ...item, item: withEarlierTime(item.item, earlierExecutionTime) }
        return yield* this.again(before, end.attempts, job.executionTime)
      }
      return { ...end, result }
    })
  }

  private replay(key: string): Effect.Effect<Replayed<O, P, C>> {
    const { journal, run } = this
    return Effect.matchEffect(journal.outcome(key), {
      onFailure: (error) => Effect.map(run.openWith(error), (end) => ({ end })),
      onSuccess: Option.match({
        onNone: () => Effect.dieMessage(`The journal has lost the outcome of "${key}"`),
        onSome: ({ at, attempts, earlier = 0, earlierExecutionTime, jobId, status, trace, ...settled }) => {
          const { delayTime, error, executionTime, output, workerId } = settled
          const end: Ended<O, P, C> = {
            _tag: "Ended",
            attempts: earlier + attempts,
            replayed: true,
            startedAt: executionTime === undefined ? undefined : at - executionTime,
            handle: run.attach(jobId, { trace }),
            job: {
              id: JobId.unsafeMake(jobId),
              status,
              raw: {},
              ...defined({ delayTime, error, executionTime, output, workerId })
            }
          }
          return Effect.succeed({ end, earlierExecutionTime })
        }
      })
    })
  }
}
