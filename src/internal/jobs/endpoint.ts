import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import { type JobError, WaitTimeoutError } from "../../errors/JobError.js"
import type { RunPodError } from "../../errors/RunPodError.js"
import * as Job from "../../schemas/Job.js"
import * as JobId from "../../schemas/JobId.js"
import * as RunRequest from "../../schemas/RunRequest.js"
import type {
  AttachOptions,
  CallOptions,
  CallStreamOptions,
  MadeEndpoint,
  RunOptions,
  Schemas
} from "../../services/Endpoint.js"
import type { JobHandle } from "../../services/JobHandle.js"
import type { Restore } from "../effect/fiber.js"
import { contextOf, refuse } from "../http/arguments.js"
import { monotonicAt, monotonicMillis, timeoutAt, withClock } from "../pace/monotonic.js"
import { ofEndpoint } from "../telemetry/instruments.js"
import { inJobSpan, type JobSpan, streamInJobSpan } from "../telemetry/jobSpan.js"
import { defined } from "../text/json.js"
import { issueOf } from "../text/parseIssue.js"
import * as Budget from "./budget.js"
import * as Handle from "./handle.js"
import { cancelJob, type JobRef, noteEnd } from "./jobRef.js"
import { cancelAfter, follow } from "./poll.js"
import * as Submit from "./submit.js"
import { decode, waitDefaults, type WaitSettings } from "./waitPolicy.js"
import * as WebhookEnd from "./webhookEnd.js"
import { visible } from "../text/visible.js"

/** How long `runSync` lets RunPod hold the submit: short, since until the answer nobody knows the job's id. */
const runSyncHold = 10_000

/** What handles have to know of a submit with these options. `submittedAt` is milliseconds of the clock. */
const factsOf = ({ policy, s3Config, submittedAt, trace, webhook }: AttachOptions): Handle.SubmitFacts => ({
  trace,
  ttl: policy?.ttl === undefined ? undefined : Duration.toMillis(policy.ttl),
  secrets: RunRequest.secretsOf({ input: {}, s3Config, webhook: webhook === true ? undefined : webhook }),
  webhook,
  submittedAt: submittedAt === undefined ? undefined : (clock) => monotonicAt(clock, submittedAt)
})

/** The `submittedAt` of a submit that is known just now. */
const justNow = (clock: Clock.Clock): Handle.SubmitFacts["submittedAt"] => {
  const now = monotonicMillis(clock)
  return () => now
}

class JobSubmit {
  private constructor(
    readonly context: Handle.EndpointContext,
    private readonly options: RunOptions,
    private readonly request: RunRequest.RunRequest,
    /** The name its webhook's URL was issued under. */
    private readonly webhookKey?: string
  ) {}

  static prepare(
    context: Handle.EndpointContext,
    encodeInput: Effect.Effect<object, RunPodError>,
    options: RunOptions
  ): Effect.Effect<JobSubmit, RunPodError> {
    const { endpointId, webhooks } = context
    const { policy, s3Config, webhook } = options
    if (webhook === true && webhooks === undefined) return Effect.fail(WebhookEnd.missing("run"))
    const url = webhook === true ? undefined : webhook
    return Effect.flatMap(encodeInput, (input) => {
      const request = { input, policy, s3Config, webhook: url }
      if (webhook === undefined || webhooks === undefined) {
        return Effect.succeed(new JobSubmit(context, options, request))
      }
      if (url !== undefined && !URL.canParse(String(url))) {
        return Effect.fail(refuse("run", "the webhook must be an absolute http or https URL"))
      }
      const issued = WebhookEnd.issue(webhooks, endpointId, { ttl: factsOf(request).ttl, url })
      return Effect.map(issued, ({ key, url }) => new JobSubmit(context, options, { ...request, webhook: url }, key))
    })
  }

  /** Starts it: with `hold` through `/runsync`, whose answer RunPod then holds for so many milliseconds. */
  start(
    hold: number | undefined,
    hooks: Submit.SubmitHooks | undefined
  ): Effect.Effect<Submit.Submission<Job.SyncJob>, RunPodError> {
    const { endpointId, runPod, runtime } = this.context
    const { policy, resubmit } = this.options
    const operation = hold === undefined ? "run" : "runSync"
    const send: Effect.Effect<Job.SyncJob, RunPodError> =
      hold === undefined
        ? runPod.run(endpointId, this.request, { resubmit })
        : runPod.runSync(endpointId, this.request, { resubmit, wait: hold })
    const submission = Submit.start({
      send,
      isObserved: runtime.keepsDeadlines,
      where: contextOf(operation, { endpointId }),
      beforeSend: hooks?.beforeSend(this.webhookKey),
      isStale: hooks?.isStale,
      onRefused: hooks?.onRefused,
      fork: (effect) => runtime.fork(effect)
    })
    const { executionTimeout } = policy ?? {}
    return Budget.submitWithin({ cost: runtime.cost, operation, endpointId, executionTimeout }, submission)
  }

  /**
   * The job of a submit that has ended. When its reply was lost, that whose webhook arrives within `adoptWithin`, and `left`
   * milliseconds at most: only this wait gets `restore`, since an interruption would lose a job that is known.
   */
  jobOf(
    submitted: Submit.Submitted<Job.SyncJob>,
    restore: Restore,
    left = Infinity
  ): Effect.Effect<Job.SyncJob, RunPodError> {
    if (submitted._tag === "Accepted") return Effect.succeed(submitted.value)
    if (submitted._tag === "Withdrawn") return Effect.interrupt
    const { error } = submitted
    const { endpointId, webhooks } = this.context
    const key = this.webhookKey
    if (submitted._tag === "Refused" || webhooks === undefined || key === undefined) return Effect.fail(error)
    const within = Math.min(Duration.toMillis(this.options.adoptWithin ?? WebhookEnd.adoptWithin), left)
    return Effect.flatMap(restore(WebhookEnd.adopt(webhooks, { endpointId, key, within })), (id) =>
      id === undefined ? Effect.fail(error) : Effect.succeed({ id, status: "IN_QUEUE", raw: {} })
    )
  }

  /** When the caller of a submit is gone: cancels its job within `grace` milliseconds, or, without, logs that it goes on. */
  abandon(submitted: Submit.Submitted<Job.SyncJob>, grace: number | undefined): Effect.Effect<void> {
    if (submitted._tag === "Withdrawn") return Effect.void
    if (submitted._tag !== "Accepted") {
      return Effect.logWarning("A submit failed after its caller had gone", Cause.fail(submitted.error))
    }
    const { endpointId } = this.context
    const { value: job } = submitted
    if (!Job.hasId(job) || Job.isTerminal(job)) return Effect.void
    return grace === undefined
      ? Effect.logWarning(
          visible(`Job ${job.id} on endpoint ${endpointId} was submitted after its caller had gone; it goes on`)
        )
      : Effect.flatMap(this.factsIn(undefined), (facts) => cancelJob(Handle.jobOf(this.context, job.id, facts), grace))
  }

  /** What is known of it once it was made, in this span. */
  factsIn(span: JobSpan | undefined): Effect.Effect<Handle.SubmitFacts> {
    return withClock((clock) =>
      Effect.succeed({ ...factsOf(this.request), submittedAt: justNow(clock), trace: span?.trace })
    )
  }
}

/** How a job is submitted: held by RunPod for so many milliseconds or not at all, and in which span. */
interface Start {
  readonly hold: number | undefined
  readonly span: JobSpan | undefined
}

/** How a job is submitted, and who gets a handle on it, with these readers, as soon as it is known. */
interface Beginning extends Start, Pick<CallOptions, "onJob"> {
  readonly restore: Restore
  readonly readers: Handle.Readers<unknown, unknown, unknown>
}

/** Submits a job for a caller who waits for it. When that leaves before its job is known, the submit is given up or its job cancelled. */
const begin = (
  submit: JobSubmit,
  settings: WaitSettings,
  { hold, onJob, readers, restore, span }: Beginning
): Effect.Effect<
  { readonly job: Job.SyncJob; readonly ref: JobRef; readonly since: number },
  RunPodError | WaitTimeoutError
> =>
  Effect.gen(function* () {
    const { context } = submit
    const { endpointId, runtime } = context
    const { cancelGrace, cancelOnInterrupt, cancelOnTimeout, timeout } = settings
    const clock = yield* Effect.clock
    const since = monotonicMillis(clock)

    const submission = yield* submit.start(hold, undefined)
    const leave = (cancels: boolean) =>
      submission.leave((submitted) => submit.abandon(submitted, cancels ? cancelGrace : undefined))
    const submitted = yield* Effect.onInterrupt(
      restore(timeoutAt(submission.end, timeout === undefined ? Infinity : since + timeout)),
      () => leave(cancelOnInterrupt)
    )
    if (Option.isNone(submitted)) {
      const unsent = submission.unsent()
      yield* runtime.fork(leave(cancelOnTimeout))
      const cancel = cancelOnTimeout && unsent === undefined ? "Pending" : "No"
      const why = unsent && { isUnsent: true, lastError: unsent.lastError?.message }
      const elapsed = Duration.millis(timeout ?? 0)
      return yield* Effect.fail(new WaitTimeoutError({ endpointId, elapsed, cancel, ...defined(why ?? {}) }))
    }

    const left = timeout === undefined ? Infinity : timeout - (monotonicMillis(clock) - since)
    const job = yield* submit.jobOf(submitted.value, restore, left)
    const facts = yield* submit.factsIn(span)
    const ref = Handle.jobOf(context, job.id ?? "", facts)
    if (submitted.value._tag === "Accepted") span?.set({ "runpod.attempts": submitted.value.attempts })
    span?.onJob(job, "submit", ref.scrub)
    if (onJob !== undefined && Job.hasId(job)) {
      const told = restore(Effect.suspend(() => onJob(Handle.make(context, readers, job.id, facts))))
      yield* Job.isTerminal(job) ? told : Effect.onExit(told, (exit) => cancelAfter({ job: ref, settings }, exit))
    }
    return { job, ref, since }
  })

const withoutId = Effect.dieMessage("An unfinished job came back without an id")

/** Submits a job and waits for its output. An interruption at any moment in between gives up the submit or cancels the job. */
const call = <O, P>(
  readers: Handle.Readers<O, P, unknown>,
  submit: JobSubmit,
  options: CallOptions<P>,
  { hold, span }: Start
): Effect.Effect<O, RunPodError | JobError> => {
  const { endpointId, runtime } = submit.context
  const called = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const settings = decode(options, true)
      const { job, ref, since } = yield* begin(submit, settings, { hold, onJob: options.onJob, readers, restore, span })
      if (Job.isTerminal(job)) {
        runtime.learn(endpointId, job)
        const waited = monotonicMillis(yield* Effect.clock) - since
        yield* noteEnd(ref, job, { waited, age: waited, span })
        return yield* restore(Handle.outputOf(job, ref, readers.output))
      }
      if (!Job.hasId(job)) return yield* withoutId
      const typed = Handle.withTypedProgress(readers.progress, options)
      const wait = yield* Handle.waitOf(ref, typed, { settings, span })
      return yield* restore(Handle.outputOf(yield* follow({ ...wait, since }, restore), ref, readers.output))
    })
  )
  return (options.cancelOnInterrupt ?? true) ? runtime.supervise(called) : called
}

/** Submits a job when it is run, and streams its chunks. An interruption at any moment gives up the submit or cancels the job. */
const callStream = <O, P, C>(
  readers: Handle.Readers<O, P, C>,
  prepared: Effect.Effect<JobSubmit, RunPodError>,
  {
    context,
    options,
    span
  }: {
    readonly context: Handle.EndpointContext
    readonly options: CallStreamOptions
    readonly span: JobSpan | undefined
  }
): Stream.Stream<C, RunPodError | JobError> => {
  const { runtime } = context
  const started = (settings: WaitSettings, restore: Restore) =>
    Effect.gen(function* () {
      const submit = yield* restore(prepared)
      const { job, ref, since } = yield* begin(submit, settings, {
        hold: undefined,
        onJob: options.onJob,
        readers,
        restore,
        span
      })
      return Job.hasId(job) ? { job: ref, since } : yield* withoutId
    })
  return Handle.streamOf(started, { chunk: readers.chunk, runtime, options, owns: true, span })
}

export const make = <I, IE, O, OE, P, PE, C, CE>(
  context: Handle.EndpointContext,
  schemas: Schemas<I, IE, O, OE, P, PE, C, CE>
): MadeEndpoint<I, O, P, C> => {
  const { endpointId, runPod, runtime, webhooks } = context
  // Its metrics are there, at 0, before anything is sent.
  ofEndpoint(endpointId)
  const encodeInput = Schema.encode(schemas.input)
  const readers: Handle.Readers<O, P, C> = {
    output: Schema.decodeUnknown(schemas.output),
    progress: readerOf(schemas.progress),
    chunk: readerOf(schemas.chunk)
  }

  const handleOf = (jobId: JobId.JobId, facts: Handle.SubmitFacts) => Handle.make(context, readers, jobId, facts)

  const encode = (input: I): Effect.Effect<object, RunPodError> =>
    encodeInput(input).pipe(
      Effect.mapError((error) => refuse("run", `the input is not what its schema says: ${issueOf(error)}`)),
      Effect.filterOrFail(
        (encoded): encoded is IE & object => typeof encoded === "object" && encoded !== null,
        () => refuse("run", "the input must encode to a JSON object")
      )
    )

  const prepare = (input: I, options: RunOptions) => JobSubmit.prepare(context, encode(input), options)

  /** Submits a prepared job. An interruption at any moment before its handle is returned cancels it. */
  const submitted = (
    submit: JobSubmit,
    { hooks, span }: { readonly hooks: Submit.SubmitHooks | undefined; readonly span: JobSpan | undefined }
  ): Effect.Effect<JobHandle<O, P, C>, RunPodError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const handle = (job: Job.SyncJob) =>
          Job.hasId(job)
            ? Effect.map(submit.factsIn(span), (facts) => handleOf(job.id, facts))
            : Effect.dieMessage("A submit with /run came back without an id")
        const onAbandoned = (end: Submit.Submitted<Job.SyncJob>) => {
          if (hooks === undefined) return submit.abandon(end, Duration.toMillis(waitDefaults.cancelGrace))
          return end._tag === "Accepted" ? Effect.flatMap(handle(end.value), hooks.onAbandoned) : Effect.void
        }
        const submission = yield* submit.start(undefined, hooks)
        hooks?.onStart(submission.withdraw)
        const end = yield* Effect.onInterrupt(restore(submission.end), () => submission.leave(onAbandoned))
        const job = yield* submit.jobOf(end, restore)
        span?.onJob(job, "submit", runtime.scrub)
        return yield* handle(job)
      })
    )

  const callWith =
    (name: string, hold: number | undefined) =>
    (input: I, options: CallOptions<P> = {}) =>
      inJobSpan(name, { endpointId }, (span) =>
        Effect.flatMap(prepare(input, options), (submit) => call(readers, submit, options, { hold, span }))
      )

  return {
    id: endpointId,
    run: (input, options = {}) =>
      inJobSpan("Endpoint.run", { endpointId, kind: "producer" }, (span) =>
        Effect.flatMap(prepare(input, options), (submit) =>
          Submit.withHooks((hooks, supervisor) => {
            const run = submitted(submit, { hooks, span })
            return supervisor === runtime.supervise ? run : runtime.supervise(run)
          })
        )
      ),
    call: callWith("Endpoint.call", undefined),
    runSync: callWith("Endpoint.runSync", runSyncHold),
    callStream: (input, options = {}) =>
      streamInJobSpan("Endpoint.callStream", { endpointId }, (span) =>
        callStream(readers, prepare(input, options), { context, options, span })
      ),
    attach: (jobId, known = {}) => handleOf(JobId.unsafeMake(jobId), factsOf(known)),
    health: runPod.health(endpointId),
    purgeQueue: runPod.purgeQueue(endpointId),
    requests: runPod.requests(endpointId),
    encode,
    adopt: (key, within) =>
      webhooks === undefined
        ? Effect.succeed(undefined)
        : Effect.zipWith(
            WebhookEnd.adopt(webhooks, { endpointId, key, within: Duration.toMillis(within) }),
            Effect.map(Effect.clock, justNow),
            (jobId, submittedAt) => jobId && handleOf(jobId, { submittedAt, webhook: true })
          ),
    runtime
  }
}

// Without a schema the type parameter is `unknown`, and every value is one.
const readerOf = <A, I>(schema: Schema.Schema<A, I> | undefined) =>
  schema === undefined ? Schema.decodeUnknown(Schema.Unknown as Schema.Schema<A>) : Schema.decodeUnknown(schema)
