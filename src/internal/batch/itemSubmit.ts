import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import { isRetryable, provesNoEffect, type RunPodError, SubmitAmbiguousError } from "../../errors/RunPodError.js"
import { operations, pathOf } from "../../schemas/Operation.js"
import type { JobHandle } from "../../services/JobHandle.js"
import * as Submit from "../jobs/submit.js"
import { type BatchRun, type Failed, type Open, open } from "./batchRun.js"
import type { Item } from "./notes.js"
import { isFatal, outage } from "./rules.js"

/** An item with what is submitted. */
export interface ItemInput<out I> {
  readonly item: Item
  readonly input: I
}

/** An item for which a job may run, and none is known. */
export const ambiguous = (endpointId: string, attempts: number): Failed => {
  const { method } = operations.run
  const path = pathOf("run", { endpointId })
  return {
    _tag: "Failed",
    error: new SubmitAmbiguousError({ operation: "run", method, path, endpointId }),
    attempts: Math.max(1, attempts)
  }
}

/** Nothing was started, and the next submit may succeed. */
export interface Refused {
  readonly _tag: "Refused"
  readonly error: RunPodError
}

/**
 * One `Endpoint.run` of an item: notes the intent when it is about to be sent, and counts its attempts. Plain state, touched
 * only synchronously.
 */
export class ItemSubmit<I, O, P, C> implements Submit.SubmitHooks {
  /** How many attempts may have started a job. */
  attempts = 0
  /** The name its webhook's URL was issued under. */
  webhookKey: string | undefined
  private hasIntent = false
  /** An attempt was sent and not refused; so was an earlier one. */
  private isSent = false
  private isDoubtful = false
  /** An endpoint without `encode` need not know hooks: what it is told to run counts as sent, until it calls one. */
  private isPresumed = false
  private abandoned: JobHandle<unknown> | undefined

  constructor(
    private readonly run: BatchRun<I, O, P, C>,
    private readonly item: ItemInput<I>
  ) {}

  /** Whether it may run: what does not tell when it is sent counts as sent from then on. */
  mayRun(): Effect.Effect<boolean> {
    if (this.run.endpoint.encode !== undefined) return Effect.succeed(true)
    return Effect.map(this.intend(undefined), (mayBeSent) => {
      this.isPresumed = this.isSent = mayBeSent
      this.attempts = mayBeSent ? 1 : 0
      return mayBeSent
    })
  }

  handle(): Effect.Effect<JobHandle<O, P, C>, RunPodError> {
    const { endpoint, runOptions } = this.run
    return Submit.withHooks(endpoint.run(this.item.input, runOptions), this)
  }

  /** Ends it unless it was sent. */
  withdraw: () => void = constVoid

  readonly onStart: Submit.SubmitHooks["onStart"] = (withdraw) => {
    this.withdraw = withdraw
  }

  /** Notes the intent; false when nothing may be sent. */
  private intend(webhookKey: string | undefined): Effect.Effect<boolean> {
    const { item } = this.item
    const { notes } = this.run
    const isNoted = this.hasIntent && webhookKey === this.webhookKey
    return Effect.flatMap(isNoted ? Effect.succeed(true) : notes.intent(item, webhookKey), (isNoted) => {
      this.hasIntent = isNoted
      this.webhookKey = webhookKey
      if (this.run.stop === undefined) return Effect.succeed(isNoted)
      return Effect.as(isNoted && !this.mayHaveStarted ? this.release() : Effect.void, false)
    })
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
      if (this.isPresumed) {
        this.isPresumed = this.isSent = false
        this.attempts = 0
      }
      if (this.run.stop !== undefined && !this.hasIntent) return Effect.succeed(false)
      return Effect.map(this.intend(webhookKey), (mayBeSent) => {
        if (!mayBeSent) return false
        this.isDoubtful ||= this.isSent
        this.isSent = true
        this.attempts++
        return true
      })
    })

  get onRefused(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isSent = false
      this.attempts--
      return this.isDoubtful ? Effect.void : Effect.asVoid(this.release())
    })
  }

  readonly onAbandoned: Submit.SubmitHooks["onAbandoned"] = (handle) =>
    Effect.sync(() => {
      this.abandoned = handle
    })

  /** The job that was started. */
  handleOf(exit: Exit.Exit<JobHandle<O, P, C>, RunPodError>): JobHandle<O, P, C> | undefined {
    if (Exit.isSuccess(exit)) return exit.value
    return this.abandoned === undefined ? undefined : this.run.attach(this.abandoned.id)
  }

  /** How it ended without a job. */
  onFailure(cause: Cause.Cause<RunPodError>): Effect.Effect<Failed | Refused | Open> {
    const { run } = this
    const failure = Cause.failureOrCause(cause)
    if (failure._tag === "Right") {
      if (!Cause.isInterruptedOnly(failure.right)) return Effect.failCause(failure.right)
      // Withdrawn; but an attempt before may have started a job.
      return Effect.succeed(this.mayHaveStarted ? ambiguous(run.endpoint.id, this.attempts) : open)
    }
    const error = failure.left
    if (!provesNoEffect(error)) return Effect.succeed({ _tag: "Failed", error, attempts: Math.max(1, this.attempts) })
    return Effect.zipRight(this.isPresumed ? this.onRefused : Effect.void, this.onRefusal(error))
  }

  private onRefusal(error: RunPodError): Effect.Effect<Failed | Refused | Open> {
    return Effect.suspend((): Effect.Effect<Failed | Refused | Open> => {
      const { run } = this
      const isTransport = error._tag === "TransportError"
      if (!isTransport && isFatal(error)) return run.openWith(error)
      if (!isRetryable(error)) return Effect.succeed({ _tag: "Failed", error, attempts: this.attempts })
      if (isTransport && run.now() - run.answeredAt > outage) return run.openWith(error)
      if (!isTransport) run.answeredAt = run.now()
      return Effect.succeed({ _tag: "Refused", error })
    })
  }
}
