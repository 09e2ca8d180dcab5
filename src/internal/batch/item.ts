import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { BatchJournalError } from "../../errors/BatchError.js"
import {
  AmbiguityCause,
  isRetryable,
  isRunPodError,
  provesNoEffect,
  type RunPodError,
  SubmitAmbiguousError
} from "../../errors/RunPodError.js"
import type { BudgetState, Reservation } from "../../layers/Cost.js"
import type * as JournalEntry from "../../schemas/JournalEntry.js"
import type { JobHandle } from "../../services/JobHandle.js"
import type { Service as JobRuntime } from "../../services/JobRuntime.js"
import { catchFailure, isInterruption } from "../effect/cause.js"
import { contextOf } from "../http/arguments.js"
import * as Submit from "../jobs/submit.js"
import { adoptWithin } from "../jobs/webhookEnd.js"
import { wallMillis } from "../pace/monotonic.js"
import { type BatchRun, type Failed, type Item, type ItemEnd, type Open, open } from "./batchRun.js"
import * as BatchJob from "./job.js"
import { isFatal, mostStrange, outage, pauseAfter, strangeAnswer } from "./rules.js"

/** An item with what is submitted. */
export interface ItemInput<out I> {
  readonly item: Item
  readonly input: I
  /** Lets another input be taken: this one does not wait for its turn to be submitted any more. */
  readonly takeNext: () => void
}

/** An item for which a job may run, and none is known. */
const ambiguous = (endpointId: string, attempts: number, cause?: AmbiguityCause): Failed => ({
  _tag: "Failed",
  error: new SubmitAmbiguousError({ ...contextOf("run", { endpointId }), cause }),
  attempts: Math.max(1, attempts)
})

/** What an earlier run noted of why its submit is in doubt; nothing when it was killed before it knew. */
const causeOf = ({ cause }: JournalEntry.Intent): AmbiguityCause | undefined =>
  Option.getOrUndefined(Schema.decodeUnknownOption(AmbiguityCause)(cause))

/** Nothing was started, and the next submit may succeed. */
interface Refused {
  readonly _tag: "Refused"
  readonly error: RunPodError
}

/** It was not sent, since submits are in doubt, and waits for its turn. */
const withdrawn = { _tag: "Withdrawn" } as const
type Withdrawn = typeof withdrawn

/** One `Endpoint.run` of an item: notes the intent when it is about to be sent, and counts its attempts. */
class ItemSubmit<I, O, P, C> implements Submit.SubmitHooks {
  readonly supervisor: JobRuntime["supervise"] | undefined
  /** How many attempts may have started a job. */
  attempts = 0
  /** The name its webhook's URL was issued under. */
  webhookKey: string | undefined
  private hasIntent = false
  /** When it was begun to be noted, on the monotonic clock, and on that of the wall, which goes on while the machine sleeps. */
  private intendedAt = { monotonic: -Infinity, wall: -Infinity }
  /** An attempt was sent and not refused; so was an earlier one. */
  private isSent = false
  private isDoubtful = false
  /** How often it was too old when it had been noted. */
  private late = 0
  /** An endpoint without `encode` need not know hooks: what it is told to run counts as sent, until it calls one. */
  private isPresumed = false
  /** It was not sent because it was barred. */
  private wasBarred = false
  private abandoned: JobHandle<unknown> | undefined

  constructor(
    private readonly run: BatchRun<I, O, P, C>,
    private readonly item: ItemInput<I>,
    /** It is sent although the circuit breaker is open. */
    private readonly isProbe: boolean
  ) {
    this.supervisor = run.endpoint.runtime?.supervise
  }

  /** Runs it if it may be sent: what does not tell when it is sent counts as sent from then on. */
  ifMayRun<A>(run: () => Effect.Effect<A>): Effect.Effect<A | Withdrawn> {
    if (this.run.endpoint.encode !== undefined) return run()
    this.onSending()
    return Effect.flatMap(this.intend(undefined), (mayBeSent): Effect.Effect<A | Withdrawn> => {
      this.isPresumed = this.isSent = mayBeSent
      this.attempts = mayBeSent ? 1 : 0
      return mayBeSent ? run() : Effect.succeed(withdrawn)
    })
  }

  private onSending(): void {
    if (!this.run.waitsForNote) this.item.takeNext()
  }

  withdraw: () => void = constVoid

  /** Whether it may not be sent any more, or not yet. */
  private get isBarred(): boolean {
    const { breaker, stop } = this.run
    return stop !== undefined || (breaker.isOpen && !this.isProbe && !this.mayHaveStarted)
  }

  readonly onStart: Submit.SubmitHooks["onStart"] = (withdraw) => void (this.withdraw = withdraw)

  /** Notes the intent; false when nothing may be sent. */
  private intend(webhookKey: string | undefined): Effect.Effect<boolean> {
    const isNoted = this.hasIntent && webhookKey === this.webhookKey && !this.isStale()
    return Effect.flatMap(isNoted ? Effect.succeed(true) : this.note(webhookKey), (isNoted) => {
      this.hasIntent = isNoted
      this.webhookKey = webhookKey
      if (!this.isBarred) return Effect.succeed(isNoted)
      this.wasBarred = true
      return Effect.as(isNoted && !this.mayHaveStarted ? this.release() : Effect.void, false)
    })
  }

  private note(webhookKey: string | undefined): Effect.Effect<boolean> {
    this.intendedAt = { monotonic: this.run.now(), wall: wallMillis(this.run.clock) }
    return this.run.notes.intent(this.item.item, webhookKey)
  }

  /** Whether another run may have taken the item over since its intent was noted. */
  readonly isStale: NonNullable<Submit.SubmitHooks["isStale"]> = () => {
    const { clock, intentTtl } = this.run
    if (!this.hasIntent || intentTtl === Infinity) return false
    const { monotonic, wall } = this.intendedAt
    return Math.max(this.run.now() - monotonic, wallMillis(clock) - wall) > intentTtl
  }

  /** By such a journal it could never be sent. */
  private giveUp(): Effect.Effect<boolean> {
    const error = new BatchJournalError({
      reason: "Io",
      detail: "it takes longer to note an intent than its `intentTtl`. Make it faster."
    })
    const released = this.mayHaveStarted ? Effect.void : this.release()
    return Effect.as(Effect.zipRight(released, this.run.openWith(error)), false)
  }

  private release(): Effect.Effect<unknown> {
    if (!this.hasIntent) return Effect.void
    this.hasIntent = false
    return this.run.notes.released(this.item.item)
  }

  /** Whether a job may run for the item although none is known. */
  private get mayHaveStarted(): boolean {
    return this.isSent || this.isDoubtful
  }

  readonly beforeSend: Submit.SubmitHooks["beforeSend"] = (webhookKey) =>
    Effect.suspend(() => {
      this.onSending()
      if (this.isPresumed) {
        this.isPresumed = this.isSent = false
        this.attempts = 0
      }
      if (this.isBarred && !this.hasIntent) {
        this.wasBarred = true
        return Effect.succeed(false)
      }
      return Effect.flatMap(this.intend(webhookKey), (mayBeSent) => {
        if (!mayBeSent) return Effect.succeed(false)
        if (this.isStale() && ++this.late >= mostLate) return this.giveUp()
        this.isDoubtful ||= this.isSent
        this.isSent = true
        this.attempts++
        return Effect.succeed(true)
      })
    })

  get onRefused(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isSent = false
      this.attempts--
      const released = this.isDoubtful ? Effect.void : this.release()
      return Effect.ensuring(Effect.asVoid(released), Effect.sync(this.item.takeNext))
    })
  }

  readonly onAbandoned: Submit.SubmitHooks["onAbandoned"] = (handle) =>
    Effect.sync(() => void (this.abandoned = handle))

  handleOf(exit: Exit.Exit<JobHandle<O, P, C>, RunPodError>): JobHandle<O, P, C> | undefined {
    if (Exit.isSuccess(exit)) return exit.value
    return this.abandoned === undefined ? undefined : this.run.attachNew(this.abandoned.id, this.item.item)
  }

  /** How it ended without a job. */
  onFailure(cause: Cause.Cause<RunPodError>): Effect.Effect<Failed | Refused | Withdrawn | Open> {
    if (isInterruption(cause)) {
      // An attempt before may have started a job.
      if (this.mayHaveStarted) return Effect.succeed(ambiguous(this.run.endpoint.id, this.attempts))
      return Effect.succeed(this.wasBarred ? withdrawn : open)
    }
    return catchFailure(Effect.failCause(cause), (error): Effect.Effect<Failed | Refused | Open> => {
      const failed: Failed = { _tag: "Failed", error, attempts: Math.max(1, this.attempts) }
      if (error._tag === "SubmitAmbiguousError") {
        const noted = this.run.notes.doubtful(this.item.item, this.webhookKey, error)
        // Others need not wait until it is known whether a webhook tells of its job.
        const told = Effect.ensuring(noted, Effect.sync(this.item.takeNext))
        return Effect.as(Effect.zipRight(told, this.onDoubt(error)), failed)
      }
      if (!provesNoEffect(error)) return Effect.succeed(failed)
      return Effect.zipRight(this.isPresumed ? this.onRefused : Effect.void, this.onRefusal(error))
    })
  }

  /** Where no answer is RunPod's, each further submit would only be one more in doubt. */
  private onDoubt(error: SubmitAmbiguousError): Effect.Effect<void> {
    const { run } = this
    const answer = strangeAnswer(error)
    if (answer !== undefined && run.answeredAt === -Infinity && ++run.strange >= mostStrange) {
      return Effect.asVoid(run.openBy({ _tag: "Error", error: answer }))
    }
    return run.breaker.onError(error)
  }

  private onRefusal(error: RunPodError): Effect.Effect<Failed | Refused | Open> {
    return Effect.suspend((): Effect.Effect<Failed | Refused | Open> => {
      const { run } = this
      const isTransport = error._tag === "TransportError"
      if (error._tag === "BudgetExceededError") return Effect.succeed({ _tag: "Refused", error })
      if (!isTransport && isFatal(error)) return run.openWith(error)
      if (!isRetryable(error)) {
        return Effect.as(run.breaker.onError(error), { _tag: "Failed", error, attempts: this.attempts })
      }
      if (isTransport && run.now() - run.answeredAt > outage) return run.openWith(error)
      if (!isTransport) run.answeredAt = run.now()
      return Effect.succeed({ _tag: "Refused", error })
    })
  }
}

/** How often the intent of a submit may be too old to be acted on when it has been noted. */
const mostLate = 3

/** With `onAmbiguous: "resubmit"` only webhooks that are stored already are looked for: waiting would delay the resubmit. */
const lookForWebhook = 1_000

/** A submit that has been answered, or an end before that. */
type Submitted<I, O, P, C> = BatchJob.BatchJob<I, O, P, C> | Failed | Open

/** What has become of one submit. */
type Once<I, O, P, C> = Submitted<I, O, P, C> | Refused | Withdrawn

class ItemRun<I, O, P, C> {
  private job: BatchJob.BatchJob<I, O, P, C> | undefined
  /** Its room in the budget while there is no job that has it. */
  private room: Reservation | undefined
  webhookKey: string | undefined

  constructor(
    readonly run: BatchRun<I, O, P, C>,
    readonly input: ItemInput<I>
  ) {}

  private begin(handle: JobHandle<O, P, C>, attempts: number): Effect.Effect<Submitted<I, O, P, C>> {
    const { item } = this.input
    const room = this.room ?? this.run.spend.adopt()
    this.run.spend.begun()
    this.room = undefined
    return Effect.map(BatchJob.begin(this.run, { handle, item, room, attempts: Math.max(1, attempts) }), (job) => {
      if (job._tag === "Started") this.job = job
      this.input.takeNext()
      return job
    })
  }

  /** A job that was started is noted, also after an interruption. */
  private readonly submitOnce = (isProbe: boolean): Effect.Effect<Once<I, O, P, C>> =>
    Effect.uninterruptibleMask((restore) => {
      const { breaker, endpoint, runOptions, submits } = this.run
      if (this.run.isHalted()) return Effect.succeed(open)
      const submit = new ItemSubmit(this.run, this.input, isProbe)
      return submit.ifMayRun(() => {
        submits.add(submit)
        const run = restore(endpoint.run(this.input.input, runOptions))
        return Effect.flatMap(Submit.exitWithHooks(run, submit), (exit): Effect.Effect<Once<I, O, P, C>> => {
          submits.delete(submit)
          this.webhookKey = submit.webhookKey
          const handle = submit.handleOf(exit)
          if (handle !== undefined) {
            breaker.onAccepted()
            return this.begin(handle, submit.attempts)
          }
          return Exit.isSuccess(exit) ? Effect.succeed(open) : submit.onFailure(exit.cause)
        })
      })
    })

  /** Submits the item once there is room for it in the budget. */
  private readonly submitWithRoom = (isProbe: boolean): Effect.Effect<Once<I, O, P, C>> =>
    this.run.isHalted()
      ? Effect.succeed(open)
      : this.run.spend.enter((answer) => {
          if (answer === "Stopped") return Effect.succeed(open)
          if (answer._tag === "BudgetState") return this.haltWith(answer)
          this.room = answer
          return this.submitOnce(isProbe)
        })

  /** A budget, which stands so, has no room for the item, and will have none. */
  private haltWith({ inFlight, maxCost, next, spent }: BudgetState): Effect.Effect<Open> {
    return this.run.openBy({ _tag: "Option", reason: "Budget", budget: { inFlight, maxCost, next, spent } })
  }

  /** Gives up the room of an item that ends without a job that is known. */
  giveUpRoom(submitted: Submitted<I, O, P, C>): void {
    const { room } = this
    if (room === undefined) return
    this.room = undefined
    const { spend } = this.run
    const error = submitted._tag === "Failed" ? submitted.error : undefined
    if (error === undefined || (isRunPodError(error) && provesNoEffect(error))) spend.release(room)
    else spend.end(room, undefined)
  }

  /** Submits the item, and waits out what passes. */
  readonly submit: Effect.Effect<Submitted<I, O, P, C>> = Effect.gen(this, function* () {
    const { run } = this
    for (let tries = 0; ;) {
      const end = yield* run.breaker.guard(this.submitWithRoom)
      if (end._tag !== "Withdrawn" && end._tag !== "Refused") return end
      // Who waits below has no room that others, who can go, would wait for.
      const { room } = this
      this.room = undefined
      if (end._tag === "Refused" && end.error._tag === "BudgetExceededError") {
        const { inFlight, maxCost, next, spent } = end.error
        const state = yield* run.spend.leave(room, { _tag: "BudgetState", inFlight, maxCost, next, spent })
        if (state !== undefined) return yield* this.haltWith(state)
        continue
      }
      if (room !== undefined) run.spend.release(room)
      if (end._tag === "Withdrawn") continue
      const pause = yield* pauseAfter(end.error, tries++)
      yield* Effect.timeoutOption(Deferred.await(run.stopped), pause)
    }
  })

  /** Settles an ambiguous submit by its webhook, if that comes in time. */
  adopt(
    submitted: Submitted<I, O, P, C>,
    { webhookKey, within }: { readonly webhookKey: string | undefined; readonly within: number }
  ): Effect.Effect<Submitted<I, O, P, C>> {
    const { endpoint, options } = this.run
    if (submitted._tag !== "Failed" || submitted.error._tag !== "SubmitAmbiguousError") return Effect.succeed(submitted)
    if (endpoint.adopt === undefined || webhookKey === undefined) return Effect.succeed(submitted)
    const longest = Math.min(within, Duration.toMillis(options.adoptWithin ?? adoptWithin))
    const adopted = endpoint.adopt(webhookKey, Duration.millis(Math.max(0, longest)))
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(adopted), (handle) =>
        handle === undefined
          ? Effect.succeed(submitted)
          : this.begin(this.run.attachNew(handle.id, this.input.item), submitted.attempts)
      )
    )
  }

  /** Until the batch's deadline, and no longer than the item may take. */
  get longestAdoption(): number {
    const { deadline, options } = this.run
    const timeout = options.timeout === undefined ? Infinity : Duration.toMillis(options.timeout)
    return Math.min(deadline - this.run.now(), timeout)
  }

  /** Runs an effect of the item, whose job an interruption abandons. */
  readonly owning = <A>(effect: Effect.Effect<A>): Effect.Effect<A> =>
    Effect.onInterrupt(effect, () => (this.job === undefined ? Effect.void : BatchJob.abandon(this.job)))
}

/** How long after its submit a job is first asked for at the latest, in milliseconds. */
const longestRest = 1_500

/**
 * Asks for no job that was just submitted while others of the batch are submitted: what is not submitted does not run, and of a job that takes longer
 * a request that is held from a moment later on sees the end as soon. Not where the job may have ended by then, as far as that is known.
 */
const submitsFirst = <I, O, P, C>({ run, submittedAt, until }: BatchJob.BatchJob<I, O, P, C>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { hold, maxFailures, poll, webhook } = run.options
    const { id, runtime } = run.endpoint
    // Those have first looks of their own, and a batch that may have to stop looks at once.
    const looksItself = hold === false || poll !== undefined || webhook !== undefined || maxFailures !== undefined
    if (looksItself || runtime === undefined) return Effect.void
    const earliestEnd = runtime.expectedEnd(id, { age: 0, queuedAt: 0, delayTime: undefined })?.from ?? longestRest
    return run.submits.awaitThrough(submittedAt + Math.min(longestRest, earliestEnd, (until - submittedAt) / 2))
  })

const followed = <I, O, P, C>(submitted: Submitted<I, O, P, C>): Effect.Effect<ItemEnd<O, P, C>> =>
  submitted._tag === "Started"
    ? Effect.zipRight(submitsFirst(submitted), BatchJob.follow(submitted))
    : Effect.succeed(submitted)

export const fresh = <I, O, P, C>(run: BatchRun<I, O, P, C>, input: ItemInput<I>): Effect.Effect<ItemEnd<O, P, C>> =>
  Effect.suspend(() => {
    const state = new ItemRun(run, input)
    const adopted = Effect.flatMap(state.submit, (submitted) =>
      state.adopt(submitted, { webhookKey: state.webhookKey, within: state.longestAdoption })
    )
    const begun = Effect.flatMap(adopted, (submitted) => {
      state.giveUpRoom(submitted)
      return followed(submitted)
    })
    return state.owning(begun)
  })

/**
 * Goes on with an item of which only the intent to submit it is known: a job may run for it, and its webhook may tell. Without
 * one it ends with a `SubmitAmbiguousError`, also where it is to be submitted again.
 */
export const fromIntent = <I, O, P, C>(
  run: BatchRun<I, O, P, C>,
  input: ItemInput<I>,
  intent: JournalEntry.Intent
): Effect.Effect<ItemEnd<O, P, C>> =>
  Effect.suspend(() => {
    const state = new ItemRun(run, input)
    const resubmits = run.options.onAmbiguous === "resubmit"
    const within = resubmits ? lookForWebhook : state.longestAdoption
    const inDoubt = ambiguous(run.endpoint.id, 1, causeOf(intent))
    const adopted = state.adopt(inDoubt, { webhookKey: intent.webhook, within })
    return state.owning(Effect.flatMap(adopted, followed))
  })
