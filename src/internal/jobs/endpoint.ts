import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { type JobError, WaitTimeoutError } from "../../errors/JobError.js"
import type { RunPodError } from "../../errors/RunPodError.js"
import * as Metrics from "../../layers/RunPodMetrics.js"
import * as Job from "../../schemas/Job.js"
import * as JobId from "../../schemas/JobId.js"
import type { AttachOptions, CallOptions, Endpoint, RunOptions, Schemas } from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import { monotonicAt, monotonicMillis } from "../pace/monotonic.js"
import { defined } from "../text/json.js"
import { issueOf } from "../text/parseIssue.js"
import * as Handle from "./handle.js"
import { factsOf, JobSubmit, refuse } from "./jobSubmit.js"
import { follow } from "./poll.js"
import { currentHooks, type Submitted } from "./submit.js"
import { decode, waitDefaults } from "./waitPolicy.js"
import * as WebhookEnd from "./webhookEnd.js"

/** How long `runSync` lets RunPod hold the submit: short, since until the answer nobody knows the job's id. */
const runSyncHold = 10_000

const cancelGrace = Duration.toMillis(waitDefaults.cancelGrace)

/** Submits a job and waits for its output. An interruption at any moment in between gives up the submit or cancels the job. */
const call = <O, P>(
  readers: Handle.Readers<O, P, unknown>,
  submit: JobSubmit,
  options: CallOptions<P>,
  hold: number | undefined
): Effect.Effect<O, RunPodError | JobError> => {
  const { context } = submit
  const { endpointId, runtime } = context
  const called = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const settings = decode(options, true)
      const { cancelGrace, cancelOnInterrupt, cancelOnTimeout, timeout } = settings
      const clock = yield* Effect.clock
      const since = monotonicMillis(clock)
      const elapsed = () => monotonicMillis(clock) - since

      const submission = yield* submit.start(hold, undefined)
      const leave = (cancels: boolean) =>
        submission.leave((submitted) => submit.abandon(submitted, cancels ? cancelGrace : undefined))
      const submitted = yield* Effect.onInterrupt(
        restore(timeout === undefined ? Effect.asSome(submission.end) : Effect.timeoutOption(submission.end, timeout)),
        () => leave(cancelOnInterrupt)
      )
      if (Option.isNone(submitted)) {
        yield* runtime.fork(leave(cancelOnTimeout))
        const cancel = cancelOnTimeout ? "Pending" : "No"
        return yield* Effect.fail(new WaitTimeoutError({ endpointId, elapsed: Duration.millis(timeout ?? 0), cancel }))
      }

      const job =
        submitted.value._tag === "Accepted"
          ? submitted.value.value
          : yield* restore(submit.recover(submitted.value, timeout === undefined ? Infinity : timeout - elapsed()))
      const facts = yield* submit.facts
      const read = { endpointId, output: readers.output, scrub: Handle.scrubOf(runtime, facts.secrets) }
      if (Job.isTerminal(job)) {
        runtime.learn(endpointId, job)
        yield* Metrics.recordEnd(job, elapsed())
        return yield* restore(Handle.outputOf(job, read))
      }
      if (!Job.hasId(job)) return yield* Effect.dieMessage("an unfinished job came back without an id")
      const wait = yield* Handle.waitOf(
        Handle.jobOf(context, job.id, facts),
        Handle.withTypedProgress(readers.progress, options),
        settings
      )
      return yield* restore(Handle.outputOf(yield* follow({ ...wait, since }, restore), read))
    })
  )
  return (options.cancelOnInterrupt ?? true) ? runtime.supervise(called) : called
}

export const make = <I, IE, O, OE, P, PE, C, CE>(
  context: Handle.EndpointContext,
  schemas: Schemas<I, IE, O, OE, P, PE, C, CE>
): Endpoint<I, O, P, C> => {
  const { endpointId, runPod, runtime, webhooks } = context
  const encodeInput = Schema.encode(schemas.input)
  const readers: Handle.Readers<O, P, C> = {
    output: Schema.decodeUnknown(schemas.output),
    progress: readerOf(schemas.progress),
    chunk: readerOf(schemas.chunk)
  }

  const handleOf = (jobId: JobId.JobId, facts: Handle.SubmitFacts) => Handle.make(context, readers, jobId, facts)

  const encode = (input: I): Effect.Effect<object, RunPodError> =>
    Effect.matchEffect(encodeInput(input), {
      onFailure: (error) => Effect.fail(refuse(`the input is not what its schema says: ${issueOf(error)}`)),
      onSuccess: (encoded: unknown) =>
        typeof encoded === "object" && encoded !== null
          ? Effect.succeed(encoded)
          : Effect.fail(refuse("the input must encode to a JSON object"))
    })

  const prepare = (input: I, options: RunOptions) => JobSubmit.prepare(context, encode(input), options)

  /** Submits a prepared job. An interruption at any moment before its handle is returned cancels it. */
  const submitted = (submit: JobSubmit): Effect.Effect<JobHandle<O, P, C>, RunPodError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const hooks = yield* FiberRef.get(currentHooks)
        const handle = (job: Job.SyncJob) =>
          Job.hasId(job)
            ? Effect.map(submit.facts, (facts) => handleOf(job.id, facts))
            : Effect.dieMessage("a submit with /run came back without an id")
        const onAbandoned = (end: Submitted<Job.SyncJob>) => {
          if (hooks === undefined) return submit.abandon(end, cancelGrace)
          return end._tag === "Accepted" ? Effect.flatMap(handle(end.value), hooks.onAbandoned) : Effect.void
        }
        const submission = yield* submit.start(undefined, hooks)
        const end = yield* Effect.onInterrupt(restore(submission.end), () => submission.leave(onAbandoned))
        return yield* handle(end._tag === "Accepted" ? end.value : yield* restore(submit.recover(end)))
      })
    )

  const callWith =
    (hold: number | undefined) =>
    (input: I, options: CallOptions<P> = {}) =>
      Effect.flatMap(prepare(input, options), (submit) => call(readers, submit, options, hold))

  return {
    id: endpointId,
    run: (input, options = {}) =>
      Effect.flatMap(prepare(input, options), (submit) => runtime.supervise(submitted(submit))),
    call: callWith(undefined),
    runSync: callWith(runSyncHold),
    attach: (jobId, known = {}) => handleOf(JobId.unsafeMake(jobId), attachedFacts(known)),
    health: runPod.health(endpointId),
    purgeQueue: runPod.purgeQueue(endpointId),
    requests: runPod.requests(endpointId),
    encode,
    adopt: (key, within, known = {}) =>
      webhooks === undefined
        ? Effect.succeed(undefined)
        : Effect.zipWith(
            WebhookEnd.adopt(webhooks, { endpointId, key, within: Duration.toMillis(within) }),
            Effect.clock,
            (jobId, clock) => {
              const now = monotonicMillis(clock)
              return (
                jobId &&
                handleOf(jobId, { submittedAt: () => now, ...defined(attachedFacts({ webhook: true, ...known })) })
              )
            }
          ),
    runtime
  }
}

/** What a handle has to know of a job that was submitted elsewhere, or earlier. */
const attachedFacts = ({ submittedAt, ...known }: AttachOptions): Handle.SubmitFacts => ({
  ...factsOf(known),
  submittedAt: submittedAt === undefined ? undefined : (clock) => monotonicAt(clock, submittedAt)
})

// Without a schema the type parameter is `unknown`, and every value is one.
const readerOf = <A, I>(schema: Schema.Schema<A, I> | undefined) =>
  schema === undefined ? Schema.decodeUnknown(Schema.Unknown as Schema.Schema<A>) : Schema.decodeUnknown(schema)
