import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { BadRequestError, type RunPodError } from "../../errors/RunPodError.js"
import * as Job from "../../schemas/Job.js"
import { operations, pathOf, templateOf } from "../../schemas/Operation.js"
import * as RunRequest from "../../schemas/RunRequest.js"
import type { RunOptions } from "../../services/Endpoint.js"
import * as FiberRefs from "../effect/fiberRef.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { type EndpointContext, jobOf, type SubmitFacts } from "./handle.js"
import { cancelJob } from "./jobRef.js"
import * as Submit from "./submit.js"
import * as WebhookEnd from "./webhookEnd.js"

/** Something about a submit that is refused before anything is sent. */
export const refuse = (detail: string): BadRequestError =>
  new BadRequestError({ operation: "run", method: operations.run.method, path: templateOf("run"), detail })

/** What handles have to know of a submit with these options. */
export const factsOf = ({
  policy,
  s3Config,
  webhook
}: Pick<RunOptions, "policy" | "s3Config" | "webhook">): SubmitFacts => ({
  ttl: policy?.ttl === undefined ? undefined : Duration.toMillis(policy.ttl),
  secrets: RunRequest.secretsOf({ input: {}, s3Config, webhook: webhook === true ? undefined : webhook }),
  webhook
})

type NotAccepted = Exclude<Submit.Submitted<never>, { readonly _tag: "Accepted" }>

/** One submit of a job, checked and encoded. */
export class JobSubmit {
  private constructor(
    readonly context: EndpointContext,
    private readonly options: RunOptions,
    private readonly request: RunRequest.RunRequest,
    /** The name its webhook's URL was issued under. */
    private readonly webhookKey?: string
  ) {}

  static readonly prepare = Effect.fnUntraced(function* (
    context: EndpointContext,
    encodeInput: Effect.Effect<object, RunPodError>,
    options: RunOptions
  ) {
    const { endpointId, webhooks } = context
    const { policy, s3Config } = options
    if (options.webhook === true && webhooks === undefined) return yield* Effect.fail(WebhookEnd.missing("run"))
    const input = yield* encodeInput
    const url = options.webhook === true ? undefined : options.webhook
    const request = { input, policy, s3Config, webhook: url }
    if (webhooks === undefined || options.webhook === undefined) return new JobSubmit(context, options, request)
    if (url !== undefined && !URL.canParse(String(url))) {
      return yield* Effect.fail(refuse("the webhook must be an absolute http or https URL"))
    }
    const issued = yield* WebhookEnd.issue(webhooks, endpointId, { ttl: factsOf(request).ttl, url })
    return new JobSubmit(context, options, { ...request, webhook: issued.url }, issued.key)
  })

  /** Starts it: with `hold` through `/runsync`, whose answer RunPod then holds for so many milliseconds. */
  start(
    hold: number | undefined,
    hooks: Submit.SubmitHooks | undefined
  ): Effect.Effect<Submit.Submission<Job.SyncJob>> {
    const { endpointId, runPod, runtime } = this.context
    const { resubmit } = this.options
    const operation = hold === undefined ? "run" : "runSync"
    const send: Effect.Effect<Job.SyncJob, RunPodError> =
      hold === undefined
        ? runPod.run(endpointId, this.request, { resubmit })
        : runPod.runSync(endpointId, this.request, { resubmit, wait: hold })
    return Submit.start({
      send: FiberRefs.provide(send, Submit.currentHooks, undefined),
      isObserved: runtime.keepsDeadlines,
      where: { operation, method: operations[operation].method, path: pathOf(operation, { endpointId }), endpointId },
      beforeSend: hooks?.beforeSend(this.webhookKey),
      onRefused: hooks?.onRefused,
      fork: (effect) => runtime.fork(effect)
    })
  }

  /**
   * What a submit comes to that was not accepted: when its reply was lost, the job whose webhook arrives within
   * `adoptWithin`, and `left` milliseconds at most.
   */
  recover(submitted: NotAccepted, left = Infinity): Effect.Effect<Job.Job, RunPodError> {
    if (submitted._tag === "Withdrawn") return Effect.interrupt
    const { error } = submitted
    const { endpointId, webhooks } = this.context
    const key = this.webhookKey
    if (submitted._tag === "Refused" || webhooks === undefined || key === undefined) return Effect.fail(error)
    const within = Math.min(Duration.toMillis(this.options.adoptWithin ?? WebhookEnd.adoptWithin), left)
    return Effect.flatMap(
      WebhookEnd.adopt(webhooks, { endpointId, key, within }),
      (id): Effect.Effect<Job.Job, RunPodError> =>
        id === undefined ? Effect.fail(error) : Effect.succeed({ id, status: "IN_QUEUE", raw: {} })
    )
  }

  /** Deals with the end of a submit whose caller is gone: cancels its job within `grace` milliseconds, or, without, says that it goes on. */
  abandon(submitted: Submit.Submitted<Job.SyncJob>, grace: number | undefined): Effect.Effect<void> {
    if (submitted._tag === "Withdrawn") return Effect.void
    // Its caller is gone: the log is the only place where it can be said.
    if (submitted._tag !== "Accepted") {
      return Effect.logWarning("A submit failed after its caller had gone", Cause.fail(submitted.error))
    }
    const { endpointId } = this.context
    const { value: job } = submitted
    if (!Job.hasId(job) || Job.isTerminal(job)) return Effect.void
    return grace === undefined
      ? Effect.logWarning(`Job ${job.id} on endpoint ${endpointId} was submitted after its caller had gone; it goes on`)
      : Effect.flatMap(this.facts, (facts) => cancelJob(jobOf(this.context, job.id, facts), grace))
  }

  /** What is known of a job that was submitted just now. */
  get facts(): Effect.Effect<SubmitFacts> {
    return Effect.map(Effect.clock, (clock) => {
      const submittedAt = monotonicMillis(clock)
      return { ...factsOf(this.request), submittedAt: () => submittedAt }
    })
  }
}
