import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
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

/** An item while it is worked on. Plain state, touched only synchronously. */
class ItemRun<I, O, P, C> {
  private job: BatchJob.BatchJob<I, O, P, C> | undefined
  /** The name the webhook's URL of its last submit was issued under. */
  webhookKey: string | undefined

  constructor(
    readonly run: BatchRun<I, O, P, C>,
    readonly input: ItemInput<I>
  ) {}

  private begin(handle: JobHandle<O, P, C>, attempts: number): Effect.Effect<Submitted<I, O, P, C>> {
    const { item } = this.input
    return Effect.map(BatchJob.begin(this.run, { handle, item, attempts: Math.max(1, attempts) }), (job) => {
      if (job._tag === "Started") this.job = job
      return job
    })
  }

  /** A job that was started is noted, also after an interruption. */
  private readonly submitOnce: Effect.Effect<Submitted<I, O, P, C> | Refused> = Effect.uninterruptibleMask((restore) =>
    Effect.gen(this, function* () {
      const { submitting } = this.run
      const submit = new ItemSubmit(this.run, this.input)
      if (!(yield* submit.mayRun())) return open
      submitting.add(submit)
      const exit = yield* Effect.exit(restore(submit.handle()))
      submitting.delete(submit)
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
        handle === undefined ? Effect.succeed(submitted) : this.begin(this.run.attach(handle.id), submitted.attempts)
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

const followed = <I, O, P, C>(submitted: Submitted<I, O, P, C>): Effect.Effect<ItemEnd<O, P, C>> =>
  submitted._tag === "Started" ? BatchJob.follow(submitted) : Effect.succeed(submitted)

/** Submits an item and follows its job to its end. */
export const fresh = <I, O, P, C>(run: BatchRun<I, O, P, C>, input: ItemInput<I>): Effect.Effect<ItemEnd<O, P, C>> =>
  Effect.suspend(() => {
    const state = new ItemRun(run, input)
    const adopted = Effect.flatMap(state.submit, (submitted) =>
      state.adopt(submitted, { webhookKey: state.webhookKey, within: state.longestAdoption })
    )
    return state.owning(Effect.flatMap(adopted, followed))
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
    return state.owning(end)
  })
