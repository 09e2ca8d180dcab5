import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { FatalError } from "../../errors/BatchError.js"
import { isThrottled, type RunPodError } from "../../errors/RunPodError.js"
import type { Inputs, Submission, SubmitOptions } from "../../services/Batch.js"
import type { Endpoint } from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { CircuitBreaker } from "./breaker.js"
import { forEachInput, type Indexed, toStream } from "./inputs.js"
import * as Rules from "./rules.js"

export const submit = <I, O, P, C, E = never>(
  endpoint: Endpoint<I, O, P, C>,
  inputs: Inputs<I, E>,
  options: SubmitOptions<I> = {}
): Effect.Effect<ReadonlyArray<Submission<I, O, P, C>>, E> =>
  Effect.gen(function* () {
    const { concurrency: wanted, key: keyOf = Rules.indexAsKey, ...runOptions } = options
    const concurrency = Rules.concurrencyOf(endpoint, inputs, wanted)
    const submissions: Array<Submission<I, O, P, C>> = []
    const jobs: Array<JobHandle<O, P, C>> = []
    const stopped = yield* Deferred.make<void>()
    const breaker = new CircuitBreaker(endpoint.id, stopped)
    let fatal: FatalError | undefined

    const sendOnce = (input: I) =>
      Effect.suspend(() => {
        if (fatal !== undefined) return Effect.fail(fatal)
        return Effect.tapBoth(endpoint.run(input, runOptions), {
          onSuccess: () => Effect.sync(() => breaker.onAccepted()),
          onFailure: (error) => {
            if (!Rules.isFatal(error)) return breaker.onError(error)
            fatal ??= error
            return Deferred.succeed(stopped, undefined)
          }
        })
      })

    const send = (input: I, tries: number): Effect.Effect<JobHandle<O, P, C>, RunPodError> =>
      Effect.catchIf(
        breaker.guard(() => sendOnce(input)),
        isThrottled,
        (error) => {
          const pause = Effect.flatMap(Rules.pauseAfter(error, tries), Effect.sleep)
          return Effect.zipRight(pause, send(input, tries + 1))
        }
      )

    const use = ({ index, input }: Indexed<I>): Effect.Effect<void> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Effect.exit(restore(send(input, 0))), (result) => {
          if (Exit.isInterrupted(result)) return Effect.interrupt
          if (Exit.isSuccess(result)) jobs.push(result.value)
          submissions.push({ index, key: keyOf(input, index), input, result })
          return Effect.void
        })
      )

    const cancelAll = Effect.suspend(() =>
      Effect.forEach(jobs, (handle) => Rules.cancelHandle(handle), {
        concurrency: Rules.cancelConcurrency,
        discard: true
      })
    )

    // Nobody else knows the jobs that were submitted so far.
    yield* Rules.supervise(
      endpoint,
      Effect.onError(forEachInput(toStream(inputs), { concurrency, use }), () => cancelAll)
    )
    return submissions.sort((a, b) => a.index - b.index)
  }).pipe(Rules.inSpan("Batch.submit", endpoint.id))
