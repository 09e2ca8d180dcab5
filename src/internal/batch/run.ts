import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { BatchJournalError, BatchStoppedError } from "../../errors/BatchError.js"
import type { JobError } from "../../errors/JobError.js"
import {
  isRetryable,
  JobNotFoundError,
  provesNoEffect,
  type RunPodError,
  SubmitAmbiguousError
} from "../../errors/RunPodError.js"
import { retryAfter } from "../../layers/RetryPolicy.js"
import * as Job from "../../schemas/Job.js"
import * as JobId from "../../schemas/JobId.js"
import type * as JournalEntry from "../../schemas/JournalEntry.js"
import { operations, pathOf } from "../../schemas/Operation.js"
import type { FatalError, Inputs, Options, Outcome, RunError } from "../../services/Batch.js"
import type { BatchJournal } from "../../services/BatchJournal.js"
import type { Endpoint } from "../../services/Endpoint.js"
import type { WaitOptions } from "../../services/WaitOptions.js"
import { type Board, BoardKey, makeBoard } from "./progress.js"
import * as Source from "./source.js"
import { type Pieces, piecesOf, type Prepared } from "../jobs/endpoint.js"
import * as jobHandle from "../jobs/handle.js"
import { defined, jsonOf } from "../text/json.js"
import { monotonicMillis, sleepUntil } from "../pace/monotonic.js"
import { scrubValue } from "../text/scrub.js"
import type { Restore } from "../pace/mask.js"
import { sha256 } from "../text/sha256.js"
import { waitDefaults } from "../jobs/waitDefaults.js"
import * as waiting from "../jobs/waiting.js"
import { wordOf } from "../webhooks/jobEnd.js"

/** How many are in flight at once where the limits do not say. */
const usualConcurrency = 400
/** The most fibers that take inputs of which nobody knows how many there are. */
const mostWorkers = 10_000
/** Every job is read at least so often, so that no result is gone when it is looked for. */
const longestInterval = 10 * 60_000
/** How long there may be no way to RunPod before the batch gives up; it does at once when there never was one. */
const outage = 5 * 60_000
const firstPause = 1_000
const longestPause = 30_000
/** A job of an earlier run is looked at for so long even if its time is over. */
const lastLook = 60_000
/** How long it takes at most to find a webhook that has come already. */
const lookForWebhook = 1_000

/** What would hit every item alike. */
export const isFatal = (error: RunPodError | JobError): error is FatalError => {
  switch (error._tag) {
    case "AuthenticationError":
    case "PermissionDeniedError":
    case "EndpointNotFoundError":
    case "EndpointPausedError":
    case "RequestTimeoutError":
    case "TransportError":
      return true
    default:
      return false
  }
}

/** How a batch polls: an interval is never so long that a result could expire meanwhile. */
export const pollOptions = ({
  hold,
  poll
}: Pick<Options<never>, "hold" | "poll">): Pick<WaitOptions, "hold" | "poll"> => {
  const bounded = (duration: Duration.DurationInput) => Math.min(Duration.toMillis(duration), longestInterval)
  return {
    ...defined({ hold }),
    ...(poll === undefined
      ? {}
      : {
          poll: {
            ...poll,
            initial: bounded(poll.initial ?? waitDefaults.poll.initial),
            interval: bounded(poll.interval ?? waitDefaults.poll.interval),
            cap: bounded(poll.cap ?? waitDefaults.poll.cap)
          }
        })
  }
}

export const concurrencyOf = <O, P, C>(
  { keeper }: jobHandle.Parts<O, P, C>,
  wanted: number | undefined,
  size: number | undefined
): number => {
  if (wanted !== undefined && !(wanted >= 1)) throw new RangeError("the concurrency of a batch must be at least 1")
  const held = keeper.pipeline?.limits.operations.statusSync.concurrency ?? Infinity
  const concurrency = wanted ?? (Number.isFinite(held) ? held : usualConcurrency)
  return Math.floor(Math.min(concurrency, Math.max(1, size ?? mostWorkers)))
}

/** How long to wait before the next try after so many: what was asked for, else longer each time. */
export const pauseAfter = (error: RunPodError, tries: number): Effect.Effect<number> =>
  Effect.map(Random.next, (random) => {
    const asked = retryAfter(error)
    const longest = Math.min(firstPause * 2 ** tries, longestPause)
    return Math.round(Math.max(asked === undefined ? 0 : Duration.toMillis(asked), longest * (0.5 + random / 2)))
  })

/** The name of an item that has none. */
export const indexAsKey = (_: unknown, index: number): string => String(index)

export const inSpan =
  (name: string, endpointId: string) =>
  <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.withSpan(effect, name, { captureStackTrace: false, attributes: { "runpod.endpoint_id": endpointId } })

/** An item while it is worked on; `hash` is there with a journal. */
interface Item {
  readonly key: string
  readonly hash: string
}

/** How an item came out. */
type Fate =
  | { readonly _tag: "Ended"; readonly job: Job.TerminalJob; readonly attempts: number; readonly replayed: boolean }
  | {
      readonly _tag: "Failed"
      readonly error: RunPodError | JobError
      readonly jobId?: JobId.JobId | undefined
      readonly attempts: number
    }
  /** It has no outcome in this run. */
  | { readonly _tag: "Open" }

const open: Fate = { _tag: "Open" }

/** A submit that has been answered, or an end before that. */
type Sent = Fate | { readonly _tag: "Started"; readonly known: jobHandle.Known; readonly attempts: number }

/** Why a batch ends before its inputs do. */
type Stop<E> =
  | { readonly _tag: "Error"; readonly error: RunError<E> }
  | { readonly _tag: "Option"; readonly reason: BatchStoppedError["reason"] }

/**
 * Runs a batch and gives each outcome to `emit`.
 *
 * So many workers take inputs one by one and see each through. What stops the batch closes the source, and withdraws the
 * submits that have not been handed to the transport; workers with a job in flight see it through.
 */
export const drive = <I, O, P, C, E>(
  endpoint: Endpoint<I, O, P, C>,
  inputs: Inputs<I, E>,
  options: Options<I>,
  emit: (outcome: Outcome<I, O>) => Effect.Effect<unknown>
): Effect.Effect<void, RunError<E> | BatchStoppedError> =>
  Effect.gen(function* () {
    const pieces = yield* piecesOf(endpoint)
    const board = options.tracker?.[BoardKey] ?? (yield* makeBoard)
    const run = Effect.scoped(
      Effect.flatMap(Source.make(inputs), (source) => driveFrom(endpoint, pieces, source, inputs, options, board, emit))
    )
    // Whoever follows a batch that never began hears of its end, too.
    return yield* Effect.ensuring(
      pieces.parts.keeper.whileOpen(run),
      Effect.zipRight(Deferred.succeed(board.begun, undefined), Deferred.succeed(board.ended, undefined))
    )
  }).pipe(inSpan("Batch.run", endpoint.id))

const driveFrom = <I, O, P, C, E>(
  endpoint: Endpoint<I, O, P, C>,
  { parts, prepare }: Pieces<I, O, P, C>,
  source: Source.Source<I, E>,
  inputs: Inputs<I, E>,
  options: Options<I>,
  board: Board,
  emit: (outcome: Outcome<I, O>) => Effect.Effect<unknown>
): Effect.Effect<void, RunError<E> | BatchStoppedError, Scope.Scope> =>
  Effect.gen(function* () {
    const { endpointId } = parts
    const { journal, onAmbiguous = "report", onExpired = "report", retries = 0 } = options
    const { adoptWithin, policy, resubmit, s3Config, webhook } = options
    const submitOptions = defined({ adoptWithin, policy, resubmit, s3Config, webhook })
    const keyOf = options.key ?? indexAsKey
    const cancelOnInterrupt = options.cancelOnInterrupt ?? journal === undefined
    const cancelOnTimeout = options.cancelOnTimeout ?? journal === undefined
    const cancelGrace = Duration.toMillis(options.cancelGrace ?? waitDefaults.cancelGrace)
    const clock = yield* Effect.clock
    const now = () => monotonicMillis(clock)
    const startedAt = now()
    const deadline = options.deadline === undefined ? Infinity : startedAt + Duration.toMillis(options.deadline)
    const ttl = policy?.ttl === undefined ? undefined : Duration.toMillis(policy.ttl)
    const wait = pollOptions(options)
    const concurrency = yield* Effect.sync(() => concurrencyOf(parts, options.concurrency, source.size))

    // Plain state of one run, touched only synchronously.
    const stopped = Deferred.unsafeMake<void>(FiberId.none)
    const submitting = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
    const seen = new Set<string>()
    let stop: Stop<E> | undefined
    let hasFinished = false
    let settled = 0
    let failures = 0
    /** When a request was last answered. */
    let answeredAt: number | undefined

    const halt = (why: Stop<E>): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (stop !== undefined) return Effect.void
        stop = why
        for (const fiber of submitting) fiber.unsafeInterruptAsFork(FiberId.none)
        return Effect.zipRight(source.close, Deferred.succeed(stopped, undefined))
      })
    const haltWith = (error: RunError<E>) => halt({ _tag: "Error", error })

    /** At its very moment, items that end by the deadline would make room for others before the fiber that halts had its turn. */
    const checkDeadline = Effect.suspend(() =>
      now() < deadline ? Effect.void : halt({ _tag: "Option", reason: "Deadline" })
    )

    // --- the journal ----------------------------------------------------------------------------------------------

    /** Writes an entry down; without a journal there is nothing to do. False when it could not be, which halts. */
    const note = (entry: (at: number) => JournalEntry.Entry): Effect.Effect<boolean> =>
      journal === undefined
        ? Effect.succeed(true)
        : Effect.uninterruptible(
            Effect.suspend(() => journal.append(entry(clock.unsafeCurrentTimeMillis()))).pipe(
              Effect.as(true),
              Effect.catchAll((error) => Effect.as(haltWith(error), false))
            )
          )

    const noteReleased = ({ hash, key }: Item) => note((at) => ({ _tag: "Released", key, hash, at }))

    const noteSubmitted = ({ hash, key }: Item, { jobId, submittedAt }: jobHandle.Known, attempts: number) =>
      Effect.tap(
        note((at) => ({
          _tag: "Submitted",
          key,
          hash,
          at: Math.round(at - (submittedAt === undefined ? 0 : now() - submittedAt)),
          jobId,
          attempts
        })),
        (isNoted) =>
          isNoted
            ? Effect.void
            : Effect.logWarning(`Job ${jobId} on endpoint ${endpointId} goes on, but could not be noted in the journal`)
      )

    const noteSettled = (
      { hash, key }: Item,
      job: Job.TerminalJob,
      attempts: number,
      scrub: (text: string) => string
    ) =>
      note((at) => ({
        _tag: "Settled",
        key,
        hash,
        at,
        jobId: job.id,
        attempts,
        status: job.status,
        ...defined({
          delayTime: job.delayTime,
          executionTime: job.executionTime,
          workerId: job.workerId,
          output: scrubValue(job.output, scrub),
          error: scrubValue(job.error, scrub)
        })
      }))

    /** Of an input as it is submitted; with `webhook: true` no URL is issued for it yet. */
    const prepareToHash = (input: I) =>
      prepare(input, webhook === true ? defined({ policy, resubmit, s3Config }) : submitOptions)

    const hashOf = ({ request }: Prepared<O, P, C>): string => sha256(jsonOf(request.input))

    const inputChanged = (key: string) =>
      new BatchJournalError({
        reason: "InputChanged",
        key,
        detail:
          "the journal knows another input under this key. Use the inputs it was made with, keys that follow the inputs, or a new journal."
      })

    const duplicateKey = (key: string) =>
      new BatchJournalError({
        reason: "DuplicateKey",
        key,
        detail: "two inputs of this run have this key. Give `key` a function that tells them apart."
      })

    /** Looks for what does not fit before anything is sent, where the inputs can be gone through twice. */
    const checkAll = (journal: BatchJournal, inputs: ReadonlyArray<I>): Effect.Effect<void, BatchJournalError> =>
      Effect.gen(function* () {
        const keys = new Set<string>()
        for (const [index, input] of inputs.entries()) {
          const key = keyOf(input, index)
          if (keys.has(key)) return yield* Effect.fail(duplicateKey(key))
          keys.add(key)
          const state = yield* journal.find(key)
          if (Option.isNone(state)) continue
          const prepared = yield* Effect.option(prepareToHash(input))
          if (Option.isSome(prepared) && hashOf(prepared.value) !== state.value.hash) {
            return yield* Effect.fail(inputChanged(key))
          }
        }
      })

    // --- the life of a job ----------------------------------------------------------------------------------------

    /** Cancels a job whose owner is gone; with a journal, one that was cancelled is to be submitted again. */
    const cancel = (parts: jobHandle.Parts<O, P, C>, item: Item, known: jobHandle.Known): Effect.Effect<void> =>
      waiting.cancelSeen(jobHandle.targetOf(parts, known), cancelGrace).pipe(
        Effect.flatMap((job) => (job?.status === "CANCELLED" ? noteReleased(item) : Effect.void)),
        Effect.catchAll((error) => waiting.warnNotCancelled(endpointId, known.jobId, error)),
        Effect.asVoid
      )

    const onFatal = (error: FatalError): Effect.Effect<Fate> => Effect.as(haltWith(error), open)

    /** Follows a job to its end, through `/retry`. Runs inside a mask. */
    const follow = (
      parts: jobHandle.Parts<O, P, C>,
      known: jobHandle.Known,
      item: Item,
      startedBefore: number,
      restore: Restore,
      isResumed: boolean
    ): Effect.Effect<Fate> =>
      Effect.gen(function* () {
        const { jobId } = known
        const born = known.submittedAt ?? now()
        const life =
          options.timeout === undefined
            ? (ttl ?? Duration.toMillis(waitDefaults.timeout))
            : Duration.toMillis(options.timeout)
        const end = Math.min(deadline, isResumed ? Math.max(born + life, now() + lastLook) : born + life)
        let attempts = startedBefore
        for (;;) {
          const exit = yield* Effect.exit(
            waiting.settle(
              // The webhook of a job that was retried, in this run or an earlier one, may tell of the end before that.
              jobHandle.targetOf(parts, known, attempts > 1 ? {} : options),
              { ...wait, cancelGrace, timeout: Math.max(0, end - born) },
              {
                rules: {
                  onInterrupt: false,
                  onTimeout: cancelOnTimeout,
                  onFailure: cancelOnInterrupt && journal === undefined
                },
                since: born,
                restore
              }
            )
          )
          if (Exit.isSuccess(exit)) {
            const job = exit.value
            answeredAt = now()
            const mayRetry = job.status === "FAILED" || job.status === "TIMED_OUT"
            if (mayRetry && attempts <= retries && stop === undefined && now() < end) {
              if (known.word !== undefined) yield* known.word.forget
              const retried = yield* Effect.either(restore(parts.service.retry(endpointId, jobId)))
              if (retried._tag === "Right" || !provesNoEffect(retried.left)) {
                attempts++
                yield* noteSubmitted(item, known, attempts)
                continue
              }
            }
            const isNoted = yield* noteSettled(item, job, attempts, parts.scrub)
            return isNoted ? { _tag: "Ended", job, attempts, replayed: false } : open
          }
          if (Exit.isInterrupted(exit)) {
            if (cancelOnInterrupt && !hasFinished) yield* cancel(parts, item, known)
            return yield* Effect.interrupt
          }
          const failure = Cause.failureOrCause(exit.cause)
          if (failure._tag === "Right") return yield* Effect.failCause(failure.right)
          const error = failure.left
          if (isFatal(error)) return yield* onFatal(error)
          if (error._tag === "JobNotFoundError" && error.reason === "Unknown") {
            // It was there: we have submitted it.
            return { _tag: "Failed", error: new JobNotFoundError({ ...error, reason: "Expired" }), jobId, attempts }
          }
          return { _tag: "Failed", error, jobId, attempts }
        }
      })

    /** Gives a submit to the keeper until its fate is known, waiting out what passes. Runs inside a mask. */
    const submit = (prepared: Prepared<O, P, C>, item: Item, restore: Restore): Effect.Effect<Sent> =>
      Effect.gen(function* () {
        const { request } = prepared
        for (let tries = 0; ; tries++) {
          yield* checkDeadline
          if (stop !== undefined) return open
          let accepted: Job.SyncJob | undefined
          let orphan: Exit.Exit<Job.SyncJob, RunPodError> | undefined
          let attempts = 0
          /** The current attempt was sent, and not refused; so was an earlier one. */
          let isSent = false
          let isDoubtful = false
          let isWithdrawn = false
          const onPermit = Effect.suspend(() => {
            if (isWithdrawn || stop !== undefined) return Effect.succeed(false)
            return Effect.flatMap(
              note((at) => ({ _tag: "Intent", ...item, at, ...defined({ webhook: prepared.webhookKey }) })),
              (isNoted) => {
                if (!isNoted) return Effect.succeed(false)
                if (isWithdrawn || stop !== undefined) {
                  return isDoubtful || isSent ? Effect.succeed(false) : Effect.as(noteReleased(item), false)
                }
                isDoubtful ||= isSent
                isSent = true
                attempts++
                return Effect.succeed(true)
              }
            )
          })
          const onRefused = () =>
            Effect.suspend(() => {
              if (!isSent) return Effect.void
              isSent = false
              attempts--
              return isDoubtful ? Effect.void : noteReleased(item)
            })
          const fiber = yield* Effect.forkDaemon(
            Effect.interruptible(
              prepared.parts.keeper.submit(endpointId, {
                request,
                resubmit,
                onAccepted: (job) => {
                  accepted = job
                },
                onOrphan: (exit) =>
                  Effect.sync(() => {
                    orphan = exit
                  }),
                onPermit,
                onRefused
              })
            )
          )
          submitting.add(fiber)
          fiber.addObserver(() => submitting.delete(fiber))

          const knownOf = (): Effect.Effect<jobHandle.Known> | undefined => {
            const job = accepted ?? (orphan !== undefined && Exit.isSuccess(orphan) ? orphan.value : undefined)
            return job !== undefined && Job.hasId(job) ? prepared.knownOf(job) : undefined
          }
          const leave = Effect.suspend(() => {
            isWithdrawn = true
            return Effect.flatMap(Fiber.interrupt(fiber), () => {
              const known = knownOf()
              if (known === undefined) return Effect.void
              return Effect.flatMap(known, (known) =>
                cancelOnInterrupt
                  ? Effect.zipRight(noteSubmitted(item, known, attempts), cancel(prepared.parts, item, known))
                  : noteSubmitted(item, known, attempts)
              )
            })
          })
          const ended = yield* Effect.onInterrupt(restore(Fiber.await(fiber)), () => leave)

          const known = knownOf()
          if (known !== undefined) {
            answeredAt = now()
            const facts = yield* known
            const isNoted = yield* noteSubmitted(item, facts, attempts)
            return isNoted ? { _tag: "Started", known: facts, attempts } : open
          }
          const exit = orphan ?? ended
          if (Exit.isSuccess(exit)) return yield* Effect.dieMessage("a submit with /run came back without an id")
          const failure = Cause.failureOrCause(exit.cause)
          if (failure._tag === "Right") {
            if (!Cause.isInterruptedOnly(failure.right)) return yield* Effect.failCause(failure.right)
            // Withdrawn; but an attempt before may have started a job.
            return isSent || isDoubtful ? ambiguous(attempts) : open
          }
          const error = failure.left
          if (!provesNoEffect(error)) return { _tag: "Failed", error, attempts }
          if (error._tag !== "TransportError" && isFatal(error)) return yield* onFatal(error)
          if (!isRetryable(error)) return { _tag: "Failed", error, attempts }
          if (error._tag === "TransportError" && now() - (answeredAt ?? -Infinity) > outage)
            return yield* onFatal(error)
          if (error._tag !== "TransportError") answeredAt = now()
          const pause = yield* pauseAfter(error, tries)
          yield* restore(Effect.timeoutOption(Deferred.await(stopped), pause))
        }
      })

    const ambiguous = (attempts: number): Sent => {
      const { method } = operations.run
      const path = pathOf("run", endpointId)
      return {
        _tag: "Failed",
        error: new SubmitAmbiguousError({ operation: "run", method, path, endpointId }),
        attempts
      }
    }

    /** Settles an ambiguous submit by its webhook, if one comes in time. Runs inside a mask. */
    const adopt = (
      prepared: Prepared<O, P, C>,
      item: Item,
      sent: Sent,
      webhookKey: string | undefined,
      left: number,
      restore: Restore
    ): Effect.Effect<Sent> => {
      if (sent._tag !== "Failed" || sent.error._tag !== "SubmitAmbiguousError") return Effect.succeed(sent)
      const { attempts, error } = sent
      return restore(prepared.adopt(webhookKey, error, left)).pipe(
        Effect.flatMap(prepared.knownOf),
        Effect.flatMap((known) =>
          Effect.map(noteSubmitted(item, known, attempts), (isNoted): Sent =>
            isNoted ? { _tag: "Started", known, attempts } : open
          )
        ),
        Effect.catchTag("SubmitAmbiguousError", () => Effect.succeed(sent))
      )
    }

    const longestAdoption = () =>
      Math.min(deadline - now(), options.timeout === undefined ? Infinity : Duration.toMillis(options.timeout))

    const seeThrough = (prepared: Prepared<O, P, C>, item: Item, sent: Sent, restore: Restore): Effect.Effect<Fate> =>
      sent._tag === "Started"
        ? follow(prepared.parts, sent.known, item, sent.attempts, restore, false)
        : Effect.succeed(sent)

    const fresh = (prepared: Prepared<O, P, C>, item: Item): Effect.Effect<Fate> =>
      Effect.uninterruptibleMask((restore) =>
        submit(prepared, item, restore).pipe(
          Effect.flatMap((sent) => adopt(prepared, item, sent, prepared.webhookKey, longestAdoption(), restore)),
          Effect.flatMap((sent) => seeThrough(prepared, item, sent, restore))
        )
      )

    // --- what an earlier run left ---------------------------------------------------------------------------------

    const collected = new Map<string, Deferred.Deferred<Fate>>()

    const wordFor = (jobId: string) =>
      parts.webhooks === undefined || webhook === undefined ? undefined : wordOf(parts.webhooks, endpointId, jobId)

    /** Follows the jobs of an earlier run, all at once, whether their inputs have come already or not. */
    const collectEarlier = (jobs: ReadonlyArray<JournalEntry.Submitted>): Effect.Effect<void> =>
      Effect.forEach(
        jobs,
        ({ at, attempts, hash, jobId, key }) => {
          const fate = Deferred.unsafeMake<Fate>(FiberId.none)
          collected.set(key, fate)
          const known: jobHandle.Known = {
            jobId: JobId.unsafeMake(jobId),
            submittedAt: now() - Math.max(0, clock.unsafeCurrentTimeMillis() - at),
            ...defined({ ttl, word: wordFor(jobId) })
          }
          return Effect.uninterruptibleMask((restore) =>
            follow(parts, known, { key, hash }, attempts, restore, true)
          ).pipe((followed) => Effect.onExit(followed, (exit) => Deferred.done(fate, exit)))
        },
        { concurrency: "unbounded", discard: true }
      )

    const replay = (journal: BatchJournal, key: string): Effect.Effect<Fate> =>
      Effect.matchEffect(journal.outcome(key), {
        onFailure: (error) => Effect.as(haltWith(error), open),
        onSuccess: Option.match({
          onNone: () => Effect.dieMessage(`the journal has lost the outcome of "${key}"`),
          onSome: ({ attempts, jobId, delayTime, error, executionTime, output, status, workerId }) =>
            Effect.succeed<Fate>({
              _tag: "Ended",
              attempts,
              replayed: true,
              job: {
                id: JobId.unsafeMake(jobId),
                status,
                raw: {},
                ...defined({ delayTime, error, executionTime, output, workerId })
              }
            })
        })
      })

    /** Only the intent to submit the item is known: a job may run for it, and its webhook may tell. */
    const resumeIntent = (
      { webhook: webhookKey }: JournalEntry.Intent,
      prepared: Prepared<O, P, C>,
      item: Item
    ): Effect.Effect<Fate> =>
      Effect.uninterruptibleMask((restore) => {
        // Who would submit it again waits for nothing but what has come already.
        const left = onAmbiguous === "resubmit" ? lookForWebhook : longestAdoption()
        return Effect.flatMap(adopt(prepared, item, ambiguous(1), webhookKey, left, restore), (sent) =>
          sent._tag === "Failed" && onAmbiguous === "resubmit"
            ? restore(fresh(prepared, item))
            : seeThrough(prepared, item, sent, restore)
        )
      })

    const resume = (
      journal: BatchJournal,
      state: JournalEntry.State,
      prepared: Prepared<O, P, C>,
      item: Item
    ): Effect.Effect<Fate> => {
      switch (state._tag) {
        case "Released":
          return fresh(prepared, item)
        case "Settled":
          return replay(journal, item.key)
        case "Intent":
          return resumeIntent(state, prepared, item)
        case "Submitted": {
          const fate = collected.get(item.key)
          if (fate === undefined) return Effect.dieMessage(`the journal has lost the job of "${item.key}"`)
          return Effect.flatMap(Deferred.await(fate), (fate) =>
            fate._tag === "Failed" && fate.error._tag === "JobNotFoundError" && onExpired === "resubmit"
              ? fresh(prepared, item)
              : Effect.succeed(fate)
          )
        }
      }
    }

    // --- the workers ----------------------------------------------------------------------------------------------

    /** How an item came out, and how its job is read. */
    interface Fated {
      readonly fate: Fate
      readonly parts: jobHandle.Parts<O, P, C>
    }

    const fateOf = (input: I, key: string): Effect.Effect<Fated> =>
      Effect.matchEffect(journal === undefined ? prepare(input, submitOptions) : prepareToHash(input), {
        onFailure: (error): Effect.Effect<Fated> =>
          Effect.succeed({ fate: { _tag: "Failed", error, attempts: 0 }, parts }),
        onSuccess: (prepared) =>
          journal === undefined
            ? Effect.map(fresh(prepared, { key, hash: "" }), (fate) => ({ fate, parts: prepared.parts }))
            : withJournal(journal, input, prepared, key)
      })

    const withJournal = (
      journal: BatchJournal,
      input: I,
      prepared: Prepared<O, P, C>,
      key: string
    ): Effect.Effect<Fated> =>
      Effect.gen(function* () {
        const { parts } = prepared
        const haltedWith = (error: BatchJournalError) => Effect.as(haltWith(error), { fate: open, parts })
        if (seen.has(key)) return yield* haltedWith(duplicateKey(key))
        seen.add(key)
        const item: Item = { key, hash: hashOf(prepared) }
        const found = yield* Effect.either(journal.find(key))
        if (found._tag === "Left") return yield* haltedWith(found.left)
        const state = Option.getOrUndefined(found.right)
        if (state !== undefined && state.hash !== item.hash) return yield* haltedWith(inputChanged(key))
        if (state?._tag === "Settled") return { fate: yield* replay(journal, key), parts }
        const again = webhook === true ? yield* Effect.either(prepare(input, submitOptions)) : undefined
        if (again?._tag === "Left") return { fate: { _tag: "Failed" as const, error: again.left, attempts: 0 }, parts }
        const ready = again === undefined ? prepared : again.right
        const fate = yield* state === undefined ? fresh(ready, item) : resume(journal, state, ready, item)
        return { fate, parts: ready.parts }
      })

    const deliver = (
      { index, input }: Source.Indexed<I>,
      key: string,
      fate: Exclude<Fate, { _tag: "Open" }>,
      parts: jobHandle.Parts<O, P, C>
    ): Effect.Effect<void> =>
      Effect.gen(function* () {
        const result: Exit.Exit<O, RunPodError | JobError> =
          fate._tag === "Ended" ? yield* Effect.exit(jobHandle.outputOf(parts, fate.job)) : Exit.fail(fate.error)
        const job = fate._tag === "Ended" ? fate.job : undefined
        const replayed = fate._tag === "Ended" && fate.replayed
        const outcome: Outcome<I, O> = {
          index,
          key,
          input,
          attempts: fate.attempts,
          replayed,
          result,
          ...defined({
            jobId: fate._tag === "Ended" ? fate.job.id : fate.jobId,
            delayTime: job?.delayTime,
            executionTime: job?.executionTime
          })
        }
        settled++
        board.done++
        if (replayed) board.replayed++
        if (Exit.isFailure(result)) {
          board.failed++
          if (!replayed && ++failures >= (options.maxFailures ?? Infinity)) {
            yield* halt({ _tag: "Option", reason: "Failures" })
          }
        }
        yield* emit(outcome)
      })

    const see = (indexed: Source.Indexed<I>): Effect.Effect<void> =>
      Effect.suspend(() => {
        const { index, input } = indexed
        const key = keyOf(input, index)
        board.inFlight++
        const done = Effect.sync(() => {
          board.inFlight--
        })
        return Effect.flatMap(Effect.ensuring(fateOf(input, key), done), ({ fate, parts }) =>
          fate._tag === "Open" ? Effect.void : deliver(indexed, key, fate, parts)
        )
      })

    const worker: Effect.Effect<void> = Effect.flatMap(
      Effect.zipRight(
        checkDeadline,
        Effect.catchAll(source.next, (error) => Effect.as(haltWith(error), Option.none<Source.Indexed<I>>()))
      ),
      Option.match({
        onNone: () => Effect.void,
        onSome: (indexed) => Effect.flatMap(see(indexed), () => worker)
      })
    )

    board.total = source.size
    board.startedAt = startedAt
    board.health = endpoint.health
    board.usualExecution = () => parts.keeper.forecasts.remaining(endpointId, { age: 0, queuedAt: 0, delayTime: 0 })
    if (journal !== undefined) {
      yield* journal.begin(endpointId)
      if (Array.isArray(inputs)) yield* checkAll(journal, inputs)
      const earlier = yield* journal.submitted
      if (earlier.length > 0) yield* Effect.forkScoped(collectEarlier(earlier))
    }
    if (deadline !== Infinity) {
      yield* Effect.forkScoped(Effect.zipRight(sleepUntil(deadline), checkDeadline))
    }
    yield* Deferred.succeed(board.begun, undefined)
    yield* Effect.forEach(Array.from({ length: concurrency }), () => worker, {
      concurrency: "unbounded",
      discard: true
    })
    hasFinished = true
    yield* source.close
    if (stop === undefined) return
    const ending: Stop<E> = stop
    return yield* ending._tag === "Error"
      ? Effect.fail(ending.error)
      : Effect.fail(new BatchStoppedError({ endpointId, reason: ending.reason, settled }))
  })

export const run = <I, O, P, C, E = never>(
  endpoint: Endpoint<I, O, P, C>,
  inputs: Inputs<I, E>,
  options: Options<I> = {}
): Stream.Stream<Outcome<I, O>, RunError<E> | BatchStoppedError> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      const outcomes = yield* Mailbox.make<Outcome<I, O>, RunError<E> | BatchStoppedError>(16)
      yield* Effect.forkScoped(
        Effect.onExit(
          drive(endpoint, inputs, options, (outcome) => outcomes.offer(outcome)),
          (exit) => outcomes.done(exit)
        )
      )
      return Mailbox.toStream(outcomes)
    })
  )
