/** What spans tell of jobs, beside the tracer that they are made with. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import type { JobEvent, Update } from "../Source.js"
import { millisIn, SeenJob, textIn } from "./seenJob.js"

const submits = ["Endpoint.call", "Endpoint.run", "Endpoint.runSync", "Endpoint.callStream", "Batch.item"]
const receipt = "Webhooks.receive"
const isOfJob = (name: string): boolean =>
  submits.includes(name) || name === receipt || /^(JobHandle|Jobs)\./.test(name)
const isOfRequest = (name: string): boolean => name.startsWith("RunPod.")

const millisOf = (nanos: bigint): number => Number(nanos / 1_000_000n)

/** So many names that are gone are kept for those who read. */
const mostGone = 10_000

interface Gone {
  readonly endpointId: string
  readonly name: string
  readonly version: number
}

/** The jobs that were seen. */
export class Recorder {
  /** Those that have not changed for longest first. */
  private readonly jobs = new Map<string, SeenJob>()
  private readonly gone: Array<Gone> = []
  /** Who has read up to here or further need not read everything again. */
  private complete = 0
  /** 0 is the cursor of those who have read nothing. */
  private version = 1

  constructor(private readonly kept: number) {}

  private keyOf(endpointId: string, name: string): string {
    return `${endpointId}\n${name}`
  }

  /** It has changed. Those that have not for longest make room. */
  touch(job: SeenJob): void {
    const key = this.keyOf(job.endpointId, job.name)
    this.jobs.delete(key)
    this.jobs.set(key, job)
    job.version = ++this.version
    const [oldest] = this.jobs.values()
    if (this.jobs.size > this.kept && oldest !== undefined) this.drop(oldest)
  }

  private drop(job: SeenJob): void {
    this.jobs.delete(this.keyOf(job.endpointId, job.name))
    if (!job.isTold) return
    this.gone.push({ endpointId: job.endpointId, name: job.name, version: ++this.version })
    if (this.gone.length > mostGone) this.complete = this.gone.shift()?.version ?? this.complete
  }

  private put(job: SeenJob): SeenJob {
    this.touch(job)
    return job
  }

  /** A job whose submit begins. */
  begin(endpointId: string, name: string, at: number): SeenJob {
    return this.put(new SeenJob(endpointId, name, undefined, at))
  }

  /** The job with an id, which that of a span turns out to be. */
  named(endpointId: string, jobId: string, known: SeenJob | undefined): SeenJob {
    if (known?.jobId === jobId) return known
    const isUnnamed = known !== undefined && known.jobId === undefined
    const found = this.jobs.get(this.keyOf(endpointId, jobId))
    if (isUnnamed) this.drop(known)
    if (found !== undefined) {
      if (isUnnamed) found.absorb(known)
      return found
    }
    if (!isUnnamed) return this.put(new SeenJob(endpointId, jobId, jobId, undefined))
    known.named(jobId)
    return this.put(known)
  }

  changes(endpointId: string, after: number): Update {
    const isReset = after < this.complete || after === 0
    const jobs = [...this.jobs.values()]
      .filter((job) => job.endpointId === endpointId && (isReset || job.version > after))
      .map((job) => job.told())
      .sort((a, b) => (a.createdAt ?? 0) - (b.createdAt ?? 0))
    const removed = this.gone.filter((one) => one.endpointId === endpointId && one.version > after)
    return { cursor: this.version, isReset, jobs, removed: isReset ? [] : removed.map(({ name }) => name) }
  }

  events(endpointId: string, name: string): ReadonlyArray<JobEvent> {
    return [...(this.jobs.get(this.keyOf(endpointId, name))?.events ?? [])].sort((a, b) => a.at - b.at)
  }
}

/** A span of the outer tracer that is looked at, too. */
abstract class SeenSpan implements Tracer.Span {
  readonly _tag = "Span"

  constructor(readonly inner: Tracer.Span) {}

  get name() {
    return this.inner.name
  }
  get spanId() {
    return this.inner.spanId
  }
  get traceId() {
    return this.inner.traceId
  }
  get parent() {
    return this.inner.parent
  }
  get context() {
    return this.inner.context
  }
  get status() {
    return this.inner.status
  }
  get attributes() {
    return this.inner.attributes
  }
  get links() {
    return this.inner.links
  }
  get sampled() {
    return this.inner.sampled
  }
  get kind() {
    return this.inner.kind
  }
  addLinks(links: ReadonlyArray<Tracer.SpanLink>): void {
    this.inner.addLinks(links)
  }
  attribute(key: string, value: unknown): void {
    this.inner.attribute(key, value)
    this.onAttribute(key, value)
  }
  event(name: string, startTime: bigint, attributes?: Record<string, unknown>): void {
    this.inner.event(name, startTime, attributes)
    this.onEvent(name, millisOf(startTime), attributes ?? {})
  }
  end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    this.inner.end(endTime, exit)
    this.onEnd(millisOf(endTime), exit)
  }

  protected abstract onAttribute(key: string, value: unknown): void
  protected abstract onEvent(name: string, at: number, attributes: Readonly<Record<string, unknown>>): void
  protected abstract onEnd(at: number, exit: Exit.Exit<unknown, unknown>): void
}

class JobSpan extends SeenSpan {
  job: SeenJob | undefined
  private endpointId = ""
  private error: string | undefined

  constructor(
    inner: Tracer.Span,
    private readonly recorder: Recorder,
    private readonly startedAt: number
  ) {
    super(inner)
  }

  protected onAttribute(key: string, value: unknown): void {
    const { recorder } = this
    const text = textIn(value) ?? ""
    if (key === "error.type") this.error = text
    if (key === "runpod.endpoint_id") {
      this.endpointId = text
      if (submits.includes(this.name)) this.job ??= recorder.begin(text, `submit ${this.spanId}`, this.startedAt)
    } else if (key === "runpod.job_id") {
      if (this.endpointId !== "") this.job = recorder.named(this.endpointId, text, this.job)
    } else {
      this.job?.attribute(key, value)
    }
    if (this.job !== undefined) recorder.touch(this.job)
  }

  protected onEvent(name: string, at: number, attributes: Readonly<Record<string, unknown>>): void {
    const { job } = this
    if (job === undefined) return
    job.saw(name, at)
    if (name === "ended" && attributes["runpod.seen"] === "webhook") {
      // Its receipt has a span of its own where it was in this process.
      const isKnown = job.events.some(({ kind }) => kind === "webhook")
      if (this.name === receipt || !isKnown) job.add({ kind: "webhook", at })
    }
    this.recorder.touch(job)
  }

  protected onEnd(at: number, exit: Exit.Exit<unknown, unknown>): void {
    const { error, job } = this
    if (job === undefined || job.jobId !== undefined || job.hasEnded) return
    const isInterrupted = Exit.isFailure(exit) && Cause.isInterrupted(exit.cause)
    const isInDoubt = error === "SubmitAmbiguousError" || error === "WaitTimeoutError"
    job.unsubmitted(isInterrupted ? "INTERRUPTED" : isInDoubt ? "IN_DOUBT" : "REFUSED", at)
    this.recorder.touch(job)
  }
}

class RequestSpan extends SeenSpan {
  private readonly operation = this.inner.name.slice("RunPod.".length)
  private answer: number | undefined
  private error: string | undefined

  constructor(
    inner: Tracer.Span,
    private readonly recorder: Recorder,
    private readonly of: JobSpan,
    private readonly startedAt: number
  ) {
    super(inner)
  }

  private tell(event: Omit<JobEvent, "operation">): void {
    const { job } = this.of
    if (job === undefined) return
    job.add({ operation: this.operation, ...event })
    this.recorder.touch(job)
  }

  protected onAttribute(key: string, value: unknown): void {
    if (key === "http.response.status_code" && typeof value === "number") this.answer = value
    if (key === "error.type") this.error = textIn(value)
  }

  protected onEvent(name: string, at: number, attributes: Readonly<Record<string, unknown>>): void {
    if (name === "retry") this.tell({ kind: "retry", at, error: textIn(attributes["error.type"]) })
    if (name === "throttled") {
      this.tell({ kind: "throttled", at, took: millisIn(attributes["runpod.retry_after"]), status: 429 })
    }
    if (name === "limiter") {
      const took = millisIn(attributes["runpod.limiter_wait"]) ?? 0
      this.tell({ kind: "limiter", at: at - took, took })
    }
  }

  protected onEnd(at: number): void {
    const { answer: status, error, startedAt } = this
    this.tell({ kind: "request", at: startedAt, took: Math.max(0, at - startedAt), status, error })
  }
}

/** A tracer whose spans are those of another, while a recorder is told what they say of jobs. */
export const around = (outer: Tracer.Tracer, recorder: Recorder): Tracer.Tracer => {
  const innerOf = (span: Tracer.AnySpan): Tracer.AnySpan => (span instanceof SeenSpan ? span.inner : span)
  const seen = new WeakMap<Tracer.AnySpan, JobSpan>()
  /** The span of a job that another is in, however deep. */
  const jobAround = (parent: Option.Option<Tracer.AnySpan>): JobSpan | undefined => {
    for (let at = Option.getOrUndefined(parent); at !== undefined;) {
      const job = seen.get(innerOf(at))
      if (job !== undefined) return job
      at = at._tag === "Span" ? Option.getOrUndefined(at.parent) : undefined
    }
    return undefined
  }
  return Tracer.make({
    context: (run, fiber) => outer.context(run, fiber),
    span: (name, parent, context, links, startTime, kind, options) => {
      const inner = outer.span(name, Option.map(parent, innerOf), context, links, startTime, kind, options)
      const startedAt = millisOf(startTime)
      if (isOfJob(name)) {
        const span = new JobSpan(inner, recorder, startedAt)
        seen.set(inner, span)
        return span
      }
      const job = isOfRequest(name) ? jobAround(parent) : undefined
      return job === undefined ? inner : new RequestSpan(inner, recorder, job, startedAt)
    }
  })
}
