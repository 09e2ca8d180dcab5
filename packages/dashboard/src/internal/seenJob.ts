import type { JobEvent, Job } from "../Source.js"

/** At most so many events of a job are kept. */
const mostEvents = 100

const numberIn = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined)
export const textIn = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

/** Seconds of an attribute, as whole milliseconds. */
export const millisIn = (value: unknown): number | undefined => {
  const seconds = numberIn(value)
  return seconds === undefined ? undefined : Math.round(seconds * 1000)
}

/** A job as the spans of this process tell of it, the later ones over the earlier. Times are milliseconds. */
export class SeenJob {
  private status = "SUBMITTING"
  private queuedAt: number | undefined
  private runningAt: number | undefined
  private endedAt: number | undefined
  private delayTime: number | undefined
  private executionTime: number | undefined
  private workerId: string | undefined
  private attempts: number | undefined
  private error: string | undefined
  readonly events: Array<JobEvent> = []
  /** Rises with each change. */
  version = 0
  /** Whether somebody has read it under its present name. */
  isTold = false

  constructor(
    readonly endpointId: string,
    /** Its id, or, before that is known, a name for its submit. */
    public name: string,
    public jobId: string | undefined,
    /** Missing where this process has not submitted it. */
    private createdAt: number | undefined
  ) {
    if (jobId !== undefined) this.status = "SUBMITTED"
  }

  get hasEnded(): boolean {
    return this.endedAt !== undefined
  }

  /** Its submit is answered. */
  named(jobId: string): void {
    this.name = this.jobId = jobId
    this.isTold = false
    if (this.status === "SUBMITTING") this.status = "SUBMITTED"
  }

  attribute(key: string, value: unknown): void {
    if (key === "runpod.worker_id") this.workerId = textIn(value)
    else if (key === "runpod.delay_time") this.delayTime = millisIn(value)
    else if (key === "runpod.execution_time") this.executionTime = millisIn(value)
    else if (key === "runpod.attempts") this.attempts = numberIn(value)
    else if (key === "runpod.status") this.status = textIn(value) ?? this.status
    else if (key === "error.type") this.error = textIn(value)
  }

  /** An event of its span. */
  saw(event: string, at: number): void {
    if (event === "queued") {
      this.status = "IN_QUEUE"
      // Unless it was put into the queue again.
      if (this.endedAt === undefined) this.queuedAt ??= at
      else this.queuedAt = at
      this.runningAt = this.endedAt = undefined
    } else if (event === "running") {
      this.status = "IN_PROGRESS"
      this.runningAt ??= at
      this.endedAt = undefined
    } else if (event === "ended") {
      this.endedAt ??= at
    }
  }

  /** Its submit has ended without a job. */
  unsubmitted(status: string, at: number): void {
    this.status = status
    this.endedAt = at
  }

  /** Takes over what is known of another that turns out to be this job. */
  absorb(other: SeenJob): void {
    this.createdAt ??= other.createdAt
    this.attempts ??= other.attempts
    this.events.push(...other.events)
    this.events.sort((a, b) => a.at - b.at)
  }

  add(event: JobEvent): void {
    const { events } = this
    events.push(event)
    if (events.length > mostEvents) events.shift()
  }

  /** When it started and ended, by RunPod's lengths, and no later than that was seen. */
  private times(): Pick<Job, "createdAt" | "startedAt" | "finishedAt"> {
    const { createdAt, delayTime, endedAt, executionTime, queuedAt = createdAt, runningAt } = this
    const began = queuedAt === undefined || delayTime === undefined ? Infinity : queuedAt + delayTime
    if (endedAt === undefined) {
      return { createdAt, startedAt: runningAt === undefined ? undefined : Math.min(began, runningAt) }
    }
    if (executionTime === undefined) return { createdAt, startedAt: runningAt, finishedAt: endedAt }
    const finishedAt = Math.min(endedAt, began + executionTime)
    return { createdAt, startedAt: Math.max(createdAt ?? 0, finishedAt - executionTime), finishedAt }
  }

  /** What the page shows of it. */
  told(): Job {
    const { attempts, delayTime, error, executionTime, jobId, name, status, workerId } = this
    this.isTold = true
    return {
      id: name,
      jobId,
      status,
      acceptedAt: this.queuedAt,
      ...this.times(),
      delayTime,
      executionTime,
      workerId,
      retries: attempts === undefined ? undefined : Math.max(0, attempts - 1),
      error: status === "COMPLETED" ? undefined : error
    }
  }
}
