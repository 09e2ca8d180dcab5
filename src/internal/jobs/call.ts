import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type JobError, WaitTimeoutError } from "../../errors/JobError.js"
import type { RunPodError } from "../../errors/RunPodError.js"
import * as Metrics from "../../layers/RunPodMetrics.js"
import * as Job from "../../schemas/Job.js"
import type { CallOptions } from "../../services/Endpoint.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { cancelUnlessEnded } from "./cancel.js"
import { type EndpointContext, jobOf } from "./handle.js"
import type { JobSubmit } from "./jobSubmit.js"
import * as Poll from "./poll.js"
import { outputOf, type Readers, scrubOf, typed } from "./readers.js"
import { follow } from "./settle.js"
import { type CancelRules, decode } from "./waitPolicy.js"

/** A call of an endpoint. */
export interface Call<O, P> {
  readonly context: EndpointContext
  readonly readers: Readers<O, P, unknown>
  readonly submit: JobSubmit
  readonly options: CallOptions<P>
  /** How long RunPod may hold the submit, in milliseconds; missing for `/run`, which it does not hold. */
  readonly hold: number | undefined
}

/** Submits a job and waits for its output. An interruption at any moment in between gives up the submit or cancels the job. */
export const call = <O, P>({
  context,
  hold,
  options,
  readers,
  submit
}: Call<O, P>): Effect.Effect<O, RunPodError | JobError> => {
  const { endpointId, runtime } = context
  const { cancelOnInterrupt = true, cancelOnTimeout = true } = options
  const rules: CancelRules = {
    onInterrupt: cancelOnInterrupt,
    onTimeout: cancelOnTimeout,
    onFailure: cancelOnInterrupt
  }

  const called = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const settings = decode(options)
      const { cancelGrace: grace, timeout } = settings
      const clock = yield* Effect.clock
      const since = monotonicMillis(clock)
      const elapsed = () => monotonicMillis(clock) - since

      const submission = yield* submit.start(hold, undefined)
      const leave = (cancels: boolean) => submission.leave((submitted) => submit.abandon(submitted, { cancels, grace }))
      const submitted = yield* Effect.onInterrupt(
        restore(timeout === undefined ? Effect.asSome(submission.end) : Effect.timeoutOption(submission.end, timeout)),
        () => leave(rules.onInterrupt)
      )
      if (Option.isNone(submitted)) {
        yield* runtime.fork(leave(rules.onTimeout))
        const cancel = rules.onTimeout ? "Pending" : "No"
        return yield* Effect.fail(new WaitTimeoutError({ endpointId, elapsed: Duration.millis(timeout ?? 0), cancel }))
      }

      const job =
        submitted.value._tag === "Accepted"
          ? submitted.value.value
          : yield* restore(submit.recover(submitted.value, timeout === undefined ? Infinity : timeout - elapsed()))
      const facts = yield* submit.facts
      const scrub = scrubOf(runtime, facts.secrets)
      if (Job.isTerminal(job)) {
        runtime.learn(endpointId, job)
        yield* Metrics.recordEnd(job, elapsed())
        return yield* restore(outputOf(job, { endpointId, output: readers.output, scrub }))
      }
      if (!Job.hasId(job)) return yield* Effect.dieMessage("an unfinished job came back without an id")

      const { ref, webhookEnd } = jobOf(context, job.id, facts)
      const poller = yield* Poll.make({
        job: ref,
        settings,
        rules,
        since,
        ended: facts.webhook === undefined ? undefined : webhookEnd?.ended(options),
        onProgress: typed(readers.progress, options.onProgress)
      })
      const ended = yield* Effect.onExit(restore(follow(poller)), (exit) => cancelUnlessEnded(poller, exit))
      return yield* restore(outputOf(ended, { endpointId, output: readers.output, scrub }))
    })
  )
  return cancelOnInterrupt ? runtime.supervise(called) : called
}
