import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import type * as Job from "../../schemas/Job.js"
import { isTerminal } from "../../schemas/JobStatus.js"
import type { QueueDiagnosis } from "../../schemas/QueueDiagnosis.js"
import { failureOf } from "../effect/cause.js"
import { type RuntimeFiber, withFiber } from "../effect/fiber.js"
import * as FiberRefs from "../effect/fiberRef.js"
import { excerpt } from "../text/excerpt.js"
import type { Scrub } from "../text/scrub.js"
import * as Tally from "./tally.js"
import { errorTypeOf, linksTo, traceparentOf, Tracing } from "./tracing.js"

/** How the end of a job was seen. */
export type Seen = "submit" | "hold" | "poll" | "stream" | "webhook" | "replay"

/** What a span of a job is made with. */
export interface Facts {
  readonly endpointId?: string | undefined
  /** Without what must not be printed. */
  readonly jobId?: string | undefined
  /** The `traceparent` of the job's submit, where that was another span. */
  readonly trace?: string | undefined
  /** Whether everything inside is of this one job, and makes no job's span of its own. Default: false. */
  readonly isItem?: boolean | undefined
  readonly kind?: Tracer.SpanKind | undefined
}

const longestText = 128

type Attributes = Readonly<Record<string, string | number | boolean | undefined>>

const known = (attributes: Attributes): Record<string, unknown> =>
  Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== undefined))

const inSeconds = (millis: number | undefined): number | undefined => (millis === undefined ? undefined : millis / 1000)

/** The span of a job, from its submit or the beginning of a wait until its end. It holds no input, output or message of a worker. */
export class JobSpan {
  private readonly tally: Tally.Tally
  private readonly isItem: boolean
  private failure: Exit.Exit<never, unknown> | undefined
  /** The `traceparent` of this span. */
  readonly trace: string | undefined
  private status: string | undefined
  private reason: string | undefined

  constructor(
    private readonly span: Tracer.Span,
    private readonly tracing: Tracing,
    { isItem = false, outer }: { readonly isItem?: boolean | undefined; readonly outer: Tally.Tally | undefined }
  ) {
    this.isItem = isItem
    this.trace = traceparentOf(span)
    this.tally = Tally.make({ outer, job: this })
  }

  /** What comes after its end, as the cancel of a wait that has timed out does, is seen in the spans of requests alone. */
  private get hasEnded(): boolean {
    return this.span.status._tag === "Ended"
  }

  event(name: string, attributes: Attributes = {}): void {
    if (!this.hasEnded) this.span.event(name, this.tracing.now(), known(attributes))
  }

  set(attributes: Attributes): void {
    if (this.hasEnded) return
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined) this.span.attribute(name, value)
    }
  }

  linkTo(trace: string | undefined): void {
    const links = trace === this.trace ? [] : linksTo(trace)
    if (links.length > 0) this.span.addLinks(links)
  }

  /** The job as it was seen, when it was another than before. */
  onJob(job: Job.SyncJob & { readonly diagnosis?: QueueDiagnosis | undefined }, seen: Seen, scrub: Scrub): void {
    const { delayTime, executionTime, id, status, workerId } = job
    const facts = {
      "runpod.job_id": id === undefined ? undefined : excerpt(scrub(id), longestText),
      "runpod.worker_id": workerId === undefined ? undefined : excerpt(scrub(workerId), longestText),
      "runpod.delay_time": inSeconds(delayTime)
    }
    this.set(facts)
    const reason = job.diagnosis?.reason
    if (reason !== undefined && reason !== this.reason) {
      this.event(reason === "Initializing" ? "cold start" : "diagnosis", { "runpod.diagnosis": reason })
    }
    this.reason = reason
    const isNew = status !== this.status
    this.status = status
    if (isTerminal(status)) {
      const end = { "runpod.status": status, "runpod.execution_time": inSeconds(executionTime), "runpod.seen": seen }
      this.set(end)
      if (isNew) this.event("ended", end)
    } else if (isNew) {
      if (status === "IN_QUEUE") this.event("queued")
      if (status === "IN_PROGRESS") this.event("running", { "runpod.delay_time": inSeconds(delayTime) })
    } else if (status === "IN_PROGRESS" && job.output !== undefined) {
      this.event("progress")
    }
  }

  /** The job has not succeeded, however the effect around it ends. */
  fail(error: unknown): void {
    this.failure = Exit.fail(error)
  }

  /** Requests inside belong to this job. */
  around<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    const within = FiberRefs.provide(Effect.withParentSpan(effect, this.span), Tally.currentTally, this.tally)
    return this.isItem ? FiberRefs.provide(within, currentItem, this) : within
  }

  end(ended: Exit.Exit<unknown, unknown>): void {
    if (this.hasEnded) return
    const exit = this.failure ?? ended
    const { requests, retries, throttles } = this.tally
    this.set({ "runpod.requests": requests, "runpod.retries": retries, "runpod.throttles": throttles })
    if (Exit.isFailure(exit)) {
      const error = failureOf(exit.cause)
      if (error !== undefined) this.set({ "error.type": errorTypeOf(error) })
    }
    this.tracing.end(this.span, exit)
  }
}

/** The item of a batch that a fiber works on. */
const currentItem = FiberRefs.make<JobSpan | undefined>("currentItem", undefined)

/** A span that is to be begun, by a fiber that makes one; else the one it works under, where there is any. */
type Start = { readonly begin: Effect.Effect<JobSpan> } | { readonly shared: JobSpan | undefined }

const start = (name: string, facts: Facts, fiber: RuntimeFiber<unknown, unknown>): Start => {
  const tracing = new Tracing(fiber)
  if (!tracing.isTraced) return { shared: undefined }
  const item = FiberRefs.valueIn(fiber, currentItem)
  const { endpointId, isItem, jobId, kind = "client", trace } = facts
  if (item !== undefined) {
    item.set({ "runpod.job_id": jobId })
    return { shared: item }
  }
  const outer = FiberRefs.valueIn(fiber, Tally.currentTally)
  const attributes = known({ "runpod.endpoint_id": endpointId, "runpod.job_id": jobId })
  const options = { kind, captureStackTrace: false, attributes, links: linksTo(trace) }
  return { begin: Effect.map(Effect.makeSpan(name, options), (span) => new JobSpan(span, tracing, { isItem, outer })) }
}

/**
 * Runs what is done with one job in a span of its own, whose children the requests are. Where no tracer would show it there is
 * none; within an item of a batch it is the item's.
 */
export const inJobSpan = <A, E, R>(
  name: string,
  facts: Facts,
  use: (span: JobSpan | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  withFiber((fiber) => {
    const started = start(name, facts, fiber)
    if ("shared" in started) return use(started.shared)
    return Effect.acquireUseRelease(
      started.begin,
      (job) => job.around(use(job)),
      (job, exit) => Effect.sync(() => job.end(exit))
    )
  })

export const aroundJob = <A, E, R>(
  span: JobSpan | undefined,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => (span === undefined ? effect : span.around(effect))

/** The span of a job whose end is not that of one effect: who gets it ends it. */
export const makeJobSpan = (name: string, facts: Facts): Effect.Effect<JobSpan | undefined> =>
  withFiber((fiber) => {
    const started = start(name, facts, fiber)
    return "shared" in started ? Effect.succeed(undefined) : started.begin
  })

/** The same for a stream, from the first pull to its end. */
export const streamInJobSpan = <A, E, R>(
  name: string,
  facts: Facts,
  use: (span: JobSpan | undefined) => Stream.Stream<A, E, R>
): Stream.Stream<A, E, R> =>
  Stream.unwrapScoped(
    withFiber((fiber) => {
      const started = start(name, facts, fiber)
      if ("shared" in started) return Effect.succeed(use(started.shared))
      return Effect.map(
        Effect.acquireRelease(started.begin, (job, exit) => Effect.sync(() => job.end(exit))),
        (job) => Stream.fromPull(Effect.map(job.around(Stream.toPull(use(job))), (pull) => job.around(pull)))
      )
    })
  )
