/** Drives a chunk: its inputs through a `Batch` over its journal, until each has an outcome in the store. */
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Batch from "effect-runpod/Batch"
import { type BatchJournalError, BatchStoppedError, type RunError } from "effect-runpod/BatchError"
import type { BatchJournal } from "effect-runpod/BatchJournal"
import type * as JournalEntry from "effect-runpod/JournalEntry"
import type { Endpoint } from "effect-runpod/Endpoint"
import * as JobError from "effect-runpod/JobError"
import * as RunPodError from "effect-runpod/RunPodError"
import type * as BatchStore from "../BatchStore.js"
import * as Inputs from "./inputs.js"
import { lookAt } from "./looks.js"

/** How often the batch is looked at: whether it was cancelled, and how many items have failed. */
const lookEvery = "2 seconds"
/** How old a look of another chunk may be: a little less, so that each chunk sees a new one in its turn. */
const lookAge = "1900 millis"
/** Problems are written down when there are so many, as often, and at the end. */
const mostProblems = 100
const noteEvery = "1 second"

const encodeRunPodError = Schema.encodeUnknownEither(RunPodError.RunPodError)
const encodeTimeout = Schema.encodeUnknownEither(JobError.WaitTimeoutError)

/** Why an item has no output, where its job's end does not tell. */
const problemOf = ({ key, result }: Batch.Outcome<unknown, unknown>): BatchStore.Problem | undefined => {
  if (Exit.isSuccess(result)) return undefined
  const error = Option.getOrUndefined(Cause.failureOption(result.cause))
  if (error === undefined) return { key, kind: "Defect", error: Cause.pretty(result.cause) }
  const kind = error._tag
  if (kind === "OutputDecodeError") return { key, kind, error: null }
  if (kind === "WaitTimeoutError") return { key, kind, error: Either.getOrElse(encodeTimeout(error), () => null) }
  return RunPodError.isRunPodError(error)
    ? { key, kind, error: Either.getOrElse(encodeRunPodError(error), () => null) }
    : undefined
}

/** What is known of a job of an item whose input was refused: it stays in the journal. */
const jobOf = (state: JournalEntry.State | undefined): string => {
  if (state?._tag === "Submitted") return `; it has the job ${state.jobId}`
  return state?._tag === "Intent" ? "; a job may have been started for it" : ""
}

const isBatchStopped = (error: unknown): error is BatchStoppedError => error instanceof BatchStoppedError

/** Why a chunk is not driven to its end. */
type Stopped = Exclude<BatchStore.Driven, "Finished" | "Unread"> | "Again"

/** Cancels the jobs of a chunk, and those that are found a moment later, until it is interrupted. */
const cancelAll = (endpoint: Endpoint<never, unknown>, journal: BatchJournal): Effect.Effect<never> => {
  const cancelled = new Set<string>()
  const sweep = Effect.gen(function* () {
    const jobs = (yield* journal.submitted).filter(({ jobId }) => !cancelled.has(jobId))
    yield* Effect.forEach(
      jobs,
      ({ jobId }) => Effect.tap(endpoint.attach(jobId).cancel, () => Effect.sync(() => cancelled.add(jobId))),
      { concurrency: "unbounded", discard: true }
    )
  })
  return Effect.forever(Effect.zipRight(Effect.ignore(sweep), Effect.sleep(lookEvery)))
}

export const drive = <I, IE, O, P, C, E, R>(
  store: BatchStore.Service,
  endpoint: Endpoint<I, O, P, C>,
  options: BatchStore.DriveOptions<I, IE, O, E, R>
): Effect.Effect<BatchStore.Driven, RunError<E>, R> =>
  Effect.flatMap(driveOnce(store, endpoint, options), (end) =>
    end === "Again" ? drive(store, endpoint, options) : Effect.succeed(end)
  )

const driveOnce = <I, IE, O, P, C, E, R>(
  store: BatchStore.Service,
  endpoint: Endpoint<I, O, P, C>,
  { chunk, id, input, load, onInvalidInput = "note", onOutcome, ...options }: BatchStore.DriveOptions<I, IE, O, E, R>
): Effect.Effect<BatchStore.Driven | "Again", RunError<E>, R> =>
  Effect.scoped(
    Effect.gen(function* () {
      const taken = yield* store.take(id, chunk)
      const [journal, before] = yield* Effect.zip(store.journal(taken), store.status(id, chunk), { concurrent: true })
      const stopped = yield* Deferred.make<Stopped>()
      let isStopped = false
      const readInput = Inputs.readerOf({ input, onInvalidInput })
      const keys: Array<string> = []
      let problems: Array<BatchStore.Problem> = []
      const failed: Array<string> = []
      /** How many items have no outcome, since it stopped. */
      let left = 0
      /** How many have none, since this process cannot read them. */
      let unread = 0

      const noting = yield* Effect.makeSemaphore(1)
      const note = Effect.suspend(() => {
        const noted = problems
        problems = []
        return noted.length === 0
          ? Effect.void
          : Effect.onError(store.note(taken, noted), () => Effect.sync(() => problems.unshift(...noted)))
      }).pipe(noting.withPermits(1))
      const add = (problem: BatchStore.Problem | undefined) => {
        if (problem === undefined) return Effect.void
        failed.push(problem.key)
        problems.push(problem)
        return problems.length < mostProblems ? Effect.void : note
      }

      const stop = (why: Stopped) =>
        Effect.suspend(() => {
          isStopped = true
          return Deferred.succeed(stopped, why)
        })
      const stopBy = ({ failuresLeft, remaining, state }: BatchStore.Status) =>
        state === "Cancelled"
          ? stop("Cancelled")
          : failuresLeft === 0
            ? stop("Failures")
            : remaining !== undefined && remaining <= 0
              ? stop("Deadline")
              : Effect.void
      /** Only the store knows how many have failed in all chunks: it may be fewer than this one has counted. */
      const stopByFailures = Effect.flatMap(Effect.zipRight(note, store.status(id)), ({ failuresLeft }) =>
        failuresLeft === 0 ? stop("Failures") : Deferred.succeed(stopped, "Again")
      )
      yield* stopBy(before)
      const status = yield* lookAt(store, id, lookAge)
      const look = Effect.flatMap(status, stopBy)
      yield* Effect.forkScoped(Effect.forever(Effect.zipRight(Effect.sleep(lookEvery), Effect.ignore(look))))
      yield* Effect.forkScoped(Effect.forever(Effect.zipRight(Effect.sleep(noteEvery), Effect.ignore(note))))
      yield* Effect.flatMap(Deferred.await(stopped), (why) =>
        why === "Cancelled" ? cancelAll(endpoint, journal) : Effect.void
      ).pipe(Effect.forkScoped)

      /**
       * An input that has changed never comes back as it was. One that cannot be read has no job, as long as none is known that may be its own; another
       * process may read it.
       */
      const onUnread = (key: string, { detail, kind }: Inputs.Refusal) =>
        Effect.flatMap(journal.find(key), (found) => {
          const state = Option.getOrUndefined(found)
          if (state?._tag === "Settled") return Effect.void
          const hasNoJob = state === undefined || state._tag === "Released"
          if (kind === "InputChanged" || (onInvalidInput === "note" && hasNoJob)) {
            return add({ key, kind, error: `${detail}${jobOf(state)}` })
          }
          unread++
          return Effect.void
        })

      // When it stops, what may have a job still gets its outcome.
      const isWanted = (key: string): Effect.Effect<boolean, BatchJournalError> =>
        isStopped
          ? Effect.map(journal.find(key), (found) => {
              const mayHaveJob = Option.isSome(found) && found.value._tag !== "Released"
              if (!mayHaveJob) left++
              return mayHaveJob
            })
          : Effect.succeed(true)
      const context = yield* Effect.context<R>()
      const invalid = (issue: string): Inputs.Refusal =>
        load === undefined ? { kind: "InvalidInput", detail: issue } : Inputs.refused
      const source = load === undefined ? undefined : { load, encode: Inputs.safely(input, Schema.encode(input)) }
      const readPage = <E, R>(page: Inputs.Page<E, R>) =>
        Effect.gen(function* () {
          const wanted = new Set(isStopped ? yield* Effect.filter(page.keys, isWanted) : page.keys)
          const read: Array<I> = []
          for (const [i, given] of (wanted.size === 0 ? [] : yield* page.inputs).entries()) {
            const key = page.keys[i] ?? ""
            if (!wanted.has(key)) continue
            const input = yield* Effect.either(
              Effect.flatMap(given, (given) => Effect.mapError(readInput(given), invalid))
            )
            if (Either.isLeft(input)) {
              // It may have stopped since.
              if (yield* isWanted(key)) yield* onUnread(key, input.left)
            } else {
              keys.push(key)
              read.push(input.right)
            }
          }
          return Chunk.unsafeFromArray(read)
        })
      // Page by page: an effect of the stream for each input costs more than all else that is done to take it.
      const inputs = Inputs.itemsOf(store, taken, source).pipe(
        Stream.mapEffect(readPage),
        Inputs.readAhead,
        Stream.flattenChunks,
        Stream.provideContext(context)
      )
      yield* Batch.run(endpoint, inputs, {
        ...options,
        ahead: options.ahead ?? Batch.ahead(undefined, { until: "noted" }),
        journal: { ...journal, hasInputs: true },
        // The journal says it again to the batch where it cannot be read.
        accept: (_, key) => Effect.orElseSucceed(isWanted(key), () => true),
        key: (_, index) => keys[index] ?? "",
        ...(before.failuresLeft === undefined
          ? {}
          : { maxFailures: Math.max(1, before.failuresLeft + (before.unsettled ?? 0)) }),
        ...(before.remaining === undefined ? {} : { deadline: Math.max(0, before.remaining) })
      }).pipe(
        Stream.runForEach((outcome) => Effect.zipRight(onOutcome?.(outcome) ?? Effect.void, add(problemOf(outcome)))),
        Effect.catchIf(isBatchStopped, ({ reason }) => {
          left++
          return reason === "Failures" ? stopByFailures : stop(reason)
        }),
        // A chunk that could not be driven to its end tells what it can; one that was fails below if it cannot.
        Effect.onError(() => Effect.ignore(note))
      )
      yield* note
      if (left > 0 || (unread > 0 && (yield* Deferred.isDone(stopped)))) return yield* Deferred.await(stopped)
      if (unread > 0) return "Unread"
      yield* store.finish(taken, failed)
      return "Finished"
    })
  )
