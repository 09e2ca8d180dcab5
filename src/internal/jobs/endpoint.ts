import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { type JobError, WaitTimeoutError } from "../../errors/JobError.js"
import { BadRequestError, type RunPodError, type SubmitAmbiguousError } from "../../errors/RunPodError.js"
import * as Metrics from "../../layers/RunPodMetrics.js"
import * as Job from "../../schemas/Job.js"
import * as JobId from "../../schemas/JobId.js"
import { operations } from "../../schemas/Operation.js"
import * as RunRequest from "../../schemas/RunRequest.js"
import type { Endpoint, RunOptions, Schemas } from "../../services/Endpoint.js"
import type { Service } from "../../services/RunPod.js"
import type { Service as Webhooks } from "../../services/Webhooks.js"
import * as jobHandle from "./handle.js"
import { issueOf } from "../text/parseIssue.js"
import { defined } from "../text/json.js"
import { keeperOf } from "./keeper.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { makeScrub } from "../text/scrub.js"
import type { Restore } from "../pace/mask.js"
import * as waiting from "./waiting.js"
import * as webhookWord from "../webhooks/jobEnd.js"

/** How long `runSync` lets RunPod hold the submit: short, since until the answer nobody knows the job's id. */
const runSyncHold = 10_000

/** A submit that has been checked and encoded, and the steps that come after it. */
export interface Prepared<O, P, C> {
  /** With a scrubber that knows the request's secrets. */
  readonly parts: jobHandle.Parts<O, P, C>
  readonly request: RunRequest.RunRequest
  /**
   * Submits, and gives the job to `onAbandoned`, once, when it comes back after an interruption. Run it inside a mask: with
   * `restore` around the part that waits, no interruption can come between the answer and its reader.
   */
  readonly submit: (
    hold: number | undefined,
    onAbandoned: (job: Job.SyncJob) => Effect.Effect<void>,
    restore: Restore
  ) => Effect.Effect<Job.SyncJob, RunPodError>
  /** The name its webhook's URL was issued under. */
  readonly webhookKey: string | undefined
  /**
   * Settles a submit whose reply was lost: waits for the webhook of this name, for the time that `adoptWithin` says and
   * `left` milliseconds at most. Without one it fails as the submit did.
   */
  readonly adopt: (
    webhookKey: string | undefined,
    error: SubmitAmbiguousError,
    left?: number
  ) => Effect.Effect<Job.Job, SubmitAmbiguousError>
  /** What is known of a job that was submitted just now. */
  readonly knownOf: (job: Job.Job) => Effect.Effect<jobHandle.Known>
  /** Cancels a job whose caller is gone, or says that it goes on. */
  readonly abandon: (job: Job.SyncJob, cancels: boolean, grace?: Duration.DurationInput) => Effect.Effect<void>
}

/** What batches take of an endpoint: the steps that the life of a job is made of, one by one. */
export interface Pieces<in I, out O, out P, out C> {
  readonly parts: jobHandle.Parts<O, P, C>
  /** Checks and encodes an input. */
  readonly prepare: (input: I, options: RunOptions) => Effect.Effect<Prepared<O, P, C>, RunPodError>
}

export const PiecesKey: unique symbol = Symbol.for("effect-runpod/Endpoint/Pieces")

/** The steps of an endpoint that `make` made. */
export const piecesOf = <I, O, P, C>(endpoint: Endpoint<I, O, P, C>): Effect.Effect<Pieces<I, O, P, C>> => {
  const pieces = endpoint[PiecesKey]
  return pieces === undefined
    ? Effect.dieMessage("This takes an endpoint that Endpoint.make made, or a copy of one")
    : Effect.succeed(pieces)
}

export const make = <I, IE, O, OE, P, PE, C, CE>(
  service: Service,
  endpointId: string,
  schemas: Schemas<I, IE, O, OE, P, PE, C, CE>,
  webhooks?: Webhooks
): Endpoint<I, O, P, C> => {
  const keeper = keeperOf(service)
  const encode = Schema.encode(schemas.input)
  const parts: jobHandle.Parts<O, P, C> = {
    service,
    keeper,
    endpointId,
    scrub: keeper.scrub,
    webhooks,
    readers: {
      output: Schema.decodeUnknown(schemas.output),
      progress: readerOf(schemas.progress),
      chunk: readerOf(schemas.chunk)
    }
  }

  const refuse = (detail: string) => {
    const { method, path } = operations.run
    return new BadRequestError({ operation: "run", method, path: `/{endpointId}/${path}`, detail })
  }

  /** With the `Webhooks` service, the URL for one submit. */
  const issueFor = ({ policy, webhook }: RunOptions): Effect.Effect<webhookWord.Issued | undefined, RunPodError> => {
    if (webhooks === undefined || webhook === undefined) return Effect.succeed(undefined)
    const url = webhook === true ? undefined : webhook
    return url === undefined || URL.canParse(String(url))
      ? webhookWord.issue(webhooks, endpointId, { ttl: ttlOf(policy), url })
      : Effect.fail(refuse("the webhook must be an absolute http or https URL"))
  }

  const stepsOf = (
    parts: jobHandle.Parts<O, P, C>,
    request: RunRequest.RunRequest,
    { adoptWithin, resubmit }: RunOptions,
    webhookKey: string | undefined
  ): Prepared<O, P, C> => {
    const ttl = ttlOf(request.policy)

    const knownOf: Prepared<O, P, C>["knownOf"] = (job) =>
      Effect.clockWith((clock) => {
        const word =
          webhooks === undefined || webhookKey === undefined
            ? undefined
            : webhookWord.wordOf(webhooks, endpointId, job.id)
        return Effect.succeed({ jobId: job.id, submittedAt: monotonicMillis(clock), ...defined({ ttl, word }) })
      })

    const adopt: Prepared<O, P, C>["adopt"] = (key, error, left = Infinity) => {
      if (webhooks === undefined || key === undefined) return Effect.fail(error)
      const within = Math.min(Duration.toMillis(adoptWithin ?? webhookWord.adoptWithin), left)
      return webhookWord.adopt(webhooks, endpointId, key, error, Duration.millis(within))
    }

    const abandon: Prepared<O, P, C>["abandon"] = (job, cancels, grace) => {
      if (!Job.hasId(job) || Job.isTerminal(job)) return Effect.void
      if (!cancels) {
        return Effect.logWarning(
          `Job ${job.id} on endpoint ${endpointId} was submitted after its caller had gone; it goes on`
        )
      }
      return Effect.flatMap(knownOf(job), (known) => waiting.cancelJob(jobHandle.targetOf(parts, known), grace))
    }

    const submit: Prepared<O, P, C>["submit"] = (hold, onAbandoned, restore) =>
      Effect.suspend(() => {
        let accepted: Job.SyncJob | undefined
        let isAbandoned = false
        const abandonOnce = (job: Job.SyncJob) =>
          Effect.suspend(() => {
            if (isAbandoned) return Effect.void
            isAbandoned = true
            return onAbandoned(job)
          })
        const submitted = keeper.submit(endpointId, {
          request,
          hold,
          resubmit,
          onAccepted: (job) => {
            accepted = job
          },
          onOrphan: Exit.match({
            onSuccess: abandonOnce,
            // There is nobody else to tell.
            onFailure: (cause) => Effect.logWarning("A submit failed after its caller had gone", cause)
          })
        })
        return Effect.onInterrupt(restore(submitted), () =>
          accepted === undefined ? Effect.void : abandonOnce(accepted)
        )
      })

    return { parts, request, submit, webhookKey, adopt, knownOf, abandon }
  }

  const partsKnowing = (secrets: ReadonlyArray<string>): jobHandle.Parts<O, P, C> => {
    const known = keeper.knowing(secrets)
    const scrubSecrets = makeScrub(secrets)
    return {
      ...parts,
      service: known,
      keeper: keeperOf(known),
      scrub: (text) => keeper.scrub(scrubSecrets(text))
    }
  }

  const prepare: Pieces<I, O, P, C>["prepare"] = (input, options) =>
    Effect.gen(function* () {
      const { policy, s3Config } = options
      if (options.webhook === true && webhooks === undefined) return yield* Effect.fail(webhookWord.missing("run"))
      const encoded: unknown = yield* Effect.mapError(encode(input), (error) =>
        refuse(`the input is not what its schema says: ${issueOf(error)}`)
      )
      if (typeof encoded !== "object" || encoded === null) {
        return yield* Effect.fail(refuse("the input must encode to a JSON object"))
      }
      const issued = yield* issueFor(options)
      const webhook = issued?.url ?? (options.webhook === true ? undefined : options.webhook)
      const request: RunRequest.RunRequest = { input: encoded, ...defined({ policy, s3Config, webhook }) }
      const secrets = RunRequest.secretsOf(request)
      return stepsOf(secrets.length === 0 ? parts : partsKnowing(secrets), request, options, issued?.key)
    })

  const run: Endpoint<I, O, P, C>["run"] = (input, options = {}) =>
    Effect.flatMap(prepare(input, options), (prepared) =>
      keeper.whileOpen(
        Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(
            prepared
              .submit(undefined, (job) => prepared.abandon(job, true), restore)
              .pipe(
                Effect.catchTag("SubmitAmbiguousError", (error) => restore(prepared.adopt(prepared.webhookKey, error)))
              ),
            (job) =>
              Job.hasId(job)
                ? Effect.map(prepared.knownOf(job), (known) => jobHandle.make(prepared.parts, known))
                : Effect.die("a submit with /run came back without an id")
          )
        )
      )
    )

  const callWith =
    (hold: number | undefined): Endpoint<I, O, P, C>["call"] =>
    (input, options = {}) =>
      Effect.flatMap(Effect.zip(prepare(input, options), Effect.clock), ([prepared, clock]) => {
        const since = monotonicMillis(clock)
        const cancelOnInterrupt = options.cancelOnInterrupt ?? true
        const rules: waiting.CancelRules = {
          onInterrupt: cancelOnInterrupt,
          onTimeout: options.cancelOnTimeout ?? true,
          onFailure: cancelOnInterrupt
        }
        let cancels = rules.onInterrupt
        const onAbandoned = (job: Job.SyncJob) => prepared.abandon(job, cancels, options.cancelGrace)

        /** The submit on a fiber of its own, so that the deadline does not have to wait for its end. */
        const submitBefore = (timeout: Duration.Duration, restore: Restore) =>
          Effect.flatMap(
            Effect.forkDaemon(
              Effect.interruptible(Effect.uninterruptibleMask((restore) => prepared.submit(hold, onAbandoned, restore)))
            ),
            (fiber) => {
              const giveUp = Effect.flatMap(
                Fiber.interrupt(fiber),
                Exit.match({ onSuccess: onAbandoned, onFailure: () => Effect.void })
              )
              return restore(Effect.timeoutOption(Fiber.join(fiber), timeout)).pipe(
                Effect.onInterrupt(() => giveUp),
                Effect.flatMap(
                  Option.match({
                    onSome: Effect.succeed,
                    onNone: () => {
                      cancels = rules.onTimeout
                      const cancel = cancels ? "Pending" : "No"
                      return Effect.zipRight(
                        keeper.fork(giveUp),
                        Effect.fail(new WaitTimeoutError({ endpointId, elapsed: timeout, cancel }))
                      )
                    }
                  })
                )
              )
            }
          )

        const timeout = options.timeout === undefined ? undefined : Duration.decode(options.timeout)

        const submitted = (restore: Restore) =>
          (timeout === undefined ? prepared.submit(hold, onAbandoned, restore) : submitBefore(timeout, restore)).pipe(
            Effect.catchTag("SubmitAmbiguousError", (error) => {
              const left = timeout && Duration.toMillis(timeout) - (monotonicMillis(clock) - since)
              return restore(prepared.adopt(prepared.webhookKey, error, left))
            })
          )

        const call = Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(submitted(restore), (job): Effect.Effect<O, RunPodError | JobError> => {
            if (Job.isTerminal(job)) {
              keeper.forecasts.learn(endpointId, job)
              const waited = monotonicMillis(clock) - since
              return restore(Effect.zipRight(Metrics.recordEnd(job, waited), jobHandle.outputOf(prepared.parts, job)))
            }
            if (!Job.hasId(job)) return Effect.die("an unfinished job came back without an id")
            return Effect.flatMap(prepared.knownOf(job), (known) =>
              Effect.flatMap(
                waiting.settle(
                  jobHandle.targetOf(prepared.parts, known, options),
                  jobHandle.plainOptions(prepared.parts, options),
                  { rules, since, restore }
                ),
                (ended) => restore(jobHandle.outputOf(prepared.parts, ended))
              )
            )
          })
        )
        return rules.onInterrupt ? keeper.whileOpen(call) : call
      })

  return {
    id: endpointId,
    run,
    call: callWith(undefined),
    runSync: callWith(runSyncHold),
    attach: (jobId) => jobHandle.make(parts, { jobId: JobId.unsafeMake(jobId) }),
    health: service.health(endpointId),
    purgeQueue: service.purgeQueue(endpointId),
    requests: service.requests(endpointId),
    [PiecesKey]: { parts, prepare }
  }
}

const ttlOf = (policy: RunRequest.ExecutionPolicy | undefined): number | undefined =>
  policy?.ttl === undefined ? undefined : Duration.toMillis(policy.ttl)

// Without a schema the type parameter is `unknown`, and every value is one.
const readerOf = <A, I>(schema: Schema.Schema<A, I> | undefined) =>
  schema === undefined ? Schema.decodeUnknown(Schema.Unknown as Schema.Schema<A>) : Schema.decodeUnknown(schema)
