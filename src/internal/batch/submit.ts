import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { isThrottled, type RunPodError } from "../../errors/RunPodError.js"
import type {
  FatalError,
  Inputs,
  Submission,
  SubmitOptions,
  WaitOptions as BatchWaitOptions,
  WaitOutcome
} from "../../services/Batch.js"
import type { Endpoint } from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { concurrencyOf, indexAsKey, inSpan, isFatal, pauseAfter, pollOptions } from "./run.js"
import * as Source from "./source.js"
import { piecesOf } from "../jobs/endpoint.js"
import * as jobHandle from "../jobs/handle.js"
import { defined } from "../text/json.js"
import * as JobId from "../../schemas/JobId.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { waitDefaults } from "../jobs/waitDefaults.js"
import * as waiting from "../jobs/waiting.js"
import { listen, wordOf } from "../webhooks/jobEnd.js"

export const submit = <I, O, P, C, E = never>(
  endpoint: Endpoint<I, O, P, C>,
  inputs: Inputs<I, E>,
  options: SubmitOptions<I> = {}
): Effect.Effect<ReadonlyArray<Submission<I, O, P, C>>, E> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { parts } = yield* piecesOf(endpoint)
      const { concurrency, key: keyOf = indexAsKey, ...runOptions } = options
      const source = yield* Source.make(inputs)
      const workers = yield* Effect.sync(() => concurrencyOf(parts, concurrency, source.size))
      const submissions: Array<Submission<I, O, P, C>> = []
      let fatal: FatalError | undefined

      const send = (input: I, tries: number): Effect.Effect<JobHandle<O, P, C>, RunPodError> =>
        Effect.suspend(() => {
          if (fatal !== undefined) return Effect.fail(fatal)
          return Effect.catchAll(endpoint.run(input, runOptions), (error) => {
            if (isThrottled(error)) {
              return Effect.flatMap(pauseAfter(error, tries), (pause) =>
                Effect.zipRight(Effect.sleep(pause), send(input, tries + 1))
              )
            }
            if (isFatal(error)) fatal ??= error
            return Effect.fail(error)
          })
        })

      const worker: Effect.Effect<void, E> = Effect.flatMap(
        source.next,
        Option.match({
          onNone: () => Effect.void,
          onSome: ({ index, input }) =>
            Effect.uninterruptibleMask((restore) =>
              Effect.exit(restore(send(input, 0))).pipe(
                Effect.flatMap((result) => {
                  if (Exit.isInterrupted(result)) return Effect.interrupt
                  submissions.push({ index, key: keyOf(input, index), input, result })
                  return Effect.void
                })
              )
            ).pipe(Effect.zipRight(Effect.suspend(() => worker)))
        })
      )

      const cancelAll = Effect.suspend(() =>
        Effect.forEach(
          submissions,
          ({ result }) =>
            Exit.isSuccess(result)
              ? waiting.cancelJob(jobHandle.targetOf(parts, { jobId: result.value.id }), waitDefaults.cancelGrace)
              : Effect.void,
          { concurrency: "unbounded", discard: true }
        )
      )

      // Nobody else knows the jobs that were submitted so far.
      yield* parts.keeper.whileOpen(
        Effect.onError(
          Effect.forEach(Array.from({ length: workers }), () => worker, { concurrency: "unbounded", discard: true }),
          () => cancelAll
        )
      )
      return submissions.sort((a, b) => a.index - b.index)
    })
  ).pipe(inSpan("Batch.submit", endpoint.id))

export const wait = <I, O, P, C>(
  endpoint: Endpoint<I, O, P, C>,
  jobs: Iterable<string | JobHandle<O, P, C>>,
  options: BatchWaitOptions = {}
): Effect.Effect<ReadonlyArray<WaitOutcome<O>>, FatalError> =>
  Effect.gen(function* () {
    const { parts } = yield* piecesOf(endpoint)
    const clock = yield* Effect.clock
    const since = monotonicMillis(clock)
    const { cancelOnInterrupt = false, cancelOnTimeout = false, timeout } = options
    const waitOptions = { ...pollOptions(options), ...defined({ timeout }) }
    const rules = { onInterrupt: cancelOnInterrupt, onTimeout: cancelOnTimeout, onFailure: false }

    const waitFor = (job: string | JobHandle<O, P, C>): Effect.Effect<WaitOutcome<O>, FatalError> => {
      const jobId = typeof job === "string" ? JobId.unsafeMake(job) : job.id
      const word = parts.webhooks === undefined ? undefined : wordOf(parts.webhooks, parts.endpointId, jobId)
      const listening = options.webhook === undefined ? Effect.succeed(undefined) : listen(word, options)
      const settled = Effect.flatMap(listening, (ended) =>
        waiting.settle({ ...jobHandle.targetOf(parts, { jobId }), ended }, waitOptions, { rules, since })
      )
      return Effect.matchCauseEffect(settled, {
        onSuccess: (ended) =>
          Effect.map(Effect.exit(jobHandle.outputOf(parts, ended)), (result) => ({
            jobId,
            result,
            ...defined({ delayTime: ended.delayTime, executionTime: ended.executionTime })
          })),
        onFailure: (cause) =>
          Either.match(Cause.failureOrCause(cause), {
            onLeft: (error): Effect.Effect<WaitOutcome<O>, FatalError> =>
              isFatal(error) ? Effect.fail(error) : Effect.succeed({ jobId, result: Exit.fail(error) }),
            onRight: Effect.failCause
          })
      })
    }

    return yield* parts.keeper.whileOpen(Effect.forEach(jobs, waitFor, { concurrency: "unbounded" }))
  }).pipe(inSpan("Batch.wait", endpoint.id))
