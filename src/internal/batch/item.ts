import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { RunPodError } from "../../errors/RunPodError.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { adoptWithin } from "../jobs/webhookEnd.js"
import { type BatchRun, type Failed, type ItemEnd, type Open, open } from "./batchRun.js"
import { ambiguous, type ItemInput, ItemSubmit, type Refused } from "./itemSubmit.js"
import * as BatchJob from "./job.js"
import { pauseAfter } from "./rules.js"

/** With `onAmbiguous: "resubmit"` only webhooks that are stored already are looked for: waiting would delay the resubmit. */
const lookForWebhook = 1_000

/** A submit that has been answered, or an end before that. */
type Submitted<I, O, P, C> = BatchJob.BatchJob<I, O, P, C> | Failed | Open

/** An item while it is worked on: what an interruption has to deal with. Plain state, touched only synchronously. */
class ItemRun<I, O, P, C> {
  private submitting:
    | {
        readonly submit: ItemSubmit<I, O, P, C>
        readonly fiber: Fiber.RuntimeFiber<JobHandle<O, P, C>, RunPodError>
      }
    | undefined
  private job: BatchJob.BatchJob<I, O, P, C> | undefined
  /** The name the webhook's URL of its last submit was issued under. */
  webhookKey: string | undefined

  constructor(
    readonly run: BatchRun<I, O, P, C>,
    readonly input: ItemInput<I>
  ) {}

  /** Is not to be interrupted. */
  private begin(handle: JobHandle<O, P, C>, attempts: number): Effect.Effect<Submitted<I, O, P, C>> {
    const { item } = this.input
    return Effect.tap(BatchJob.begin(this.run, { handle, item, attempts: Math.max(1, attempts) }), (job) => {
      if (job._tag === "Started") this.job = job
    })
  }

  private readonly submitOnce: Effect.Effect<Submitted<I, O, P, C> | Refused> = Effect.uninterruptibleMask((restore) =>
    Effect.gen(this, function* () {
      const submit = new ItemSubmit(this.run, this.input)
      const fiber = yield* submit.start
      if (fiber === undefined) return open
      this.submitting = { submit, fiber }
      const exit = yield* restore(Fiber.await(fiber))
      this.submitting = undefined
      this.webhookKey = submit.webhookKey
      const handle = submit.handleOf(exit)
      if (handle !== undefined) return yield* this.begin(handle, submit.attempts)
      return Exit.isSuccess(exit) ? open : yield* submit.onFailure(exit.cause)
    })
  )

  /** Submits the item, and waits out what passes. */
  readonly submit: Effect.Effect<Submitted<I, O, P, C>> = Effect.gen(this, function* () {
    const { run } = this
    for (let tries = 0; ; tries++) {
      yield* run.checkDeadline
      if (run.stop !== undefined) return open
      const end = yield* this.submitOnce
      if (end._tag !== "Refused") return end
      const pause = yield* pauseAfter(end.error, tries)
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
        handle === undefined ? Effect.succeed(submitted) : this.begin(handle, submitted.attempts)
      )
    )
  }

  /** Until the batch's deadline, and no longer than the item may take. */
  get longestAdoption(): number {
    const { deadline, options } = this.run
    const timeout = options.timeout === undefined ? Infinity : Duration.toMillis(options.timeout)
    return Math.min(deadline - this.run.now(), timeout)
  }

  /** What an interruption does: a submit that was sent is waited for and noted. */
  readonly leave: Effect.Effect<void> = Effect.gen(this, function* () {
    if (this.submitting !== undefined) {
      const { fiber, submit } = this.submitting
      const handle = submit.handleOf(yield* Fiber.interrupt(fiber))
      if (handle !== undefined) yield* this.begin(handle, submit.attempts)
    }
    if (this.job !== undefined) yield* BatchJob.abandon(this.job)
  })
}

const followed = <I, O, P, C>(submitted: Submitted<I, O, P, C>): Effect.Effect<ItemEnd<O, P, C>> =>
  submitted._tag === "Started" ? BatchJob.follow(submitted) : Effect.succeed(submitted)

/** Submits an item and follows its job to its end. */
export const fresh = <I, O, P, C>(run: BatchRun<I, O, P, C>, input: ItemInput<I>): Effect.Effect<ItemEnd<O, P, C>> =>
  Effect.suspend(() => {
    const state = new ItemRun(run, input)
    const adopted = Effect.flatMap(state.submit, (submitted) =>
      state.adopt(submitted, { webhookKey: state.webhookKey, within: state.longestAdoption })
    )
    return Effect.onInterrupt(Effect.flatMap(adopted, followed), () => state.leave)
  })

/** Goes on with an item of which only the intent to submit it is known: a job may run for it, and its webhook may tell. */
export const fromIntent = <I, O, P, C>(
  run: BatchRun<I, O, P, C>,
  input: ItemInput<I>,
  webhookKey: string | undefined
): Effect.Effect<ItemEnd<O, P, C>> =>
  Effect.suspend(() => {
    const state = new ItemRun(run, input)
    const resubmits = run.options.onAmbiguous === "resubmit"
    const within = resubmits ? lookForWebhook : state.longestAdoption
    const adopted = state.adopt(ambiguous(run.endpoint.id, 1), { webhookKey, within })
    const end = Effect.flatMap(adopted, (submitted) =>
      submitted._tag === "Failed" && resubmits ? fresh(run, input) : followed(submitted)
    )
    return Effect.onInterrupt(end, () => state.leave)
  })
