import type { Attempt, JobReading, Value } from "../../../schemas/FlightRecord.js"
import { isTerminal } from "../../../schemas/JobStatus.js"
import type { Recording } from "../../../services/Flight.js"
import type { Planned, RunPlan, SubmitPlan } from "../../plans.js"

/** When something was sent; the order tells which came first in the same millisecond. */
interface Moment {
  readonly sent: number
  readonly order: number
}

/** What an answer or a delivery said of a job. */
interface Sighting extends Moment {
  readonly ended: number
  readonly reading: JobReading
}

/** Makes the value that a job gives in place of the recorded one. */
export type Give = (job: string, value: Value) => unknown

const first = <A>(list: ReadonlyArray<A>, is: (entry: A) => boolean): A | undefined => list.find(is)

/** All that a recording says of one job. Times are its milliseconds. */
class Timeline {
  readonly sightings: Array<Sighting> = []
  readonly cancels: Array<number> = []
  readonly retries: Array<Moment> = []
  /** When it was asked for and not found. */
  readonly missing: Array<number> = []
  readonly chunks: Array<Pick<Sighting, "order" | "ended"> & { readonly value: Value }> = []

  /** In which run of the job something was seen, counting from 0. */
  runAt({ ended, order }: Pick<Sighting, "order" | "ended">): number {
    return this.retries.filter((retry) => retry.sent < ended || (retry.sent === ended && retry.order <= order)).length
  }
}

/** What becomes of jobs, from what a recording says of them. */
export class Timelines {
  private readonly jobs = new Map<string, Timeline>()

  constructor(
    { attempts, deliveries }: Recording,
    private readonly give: Give
  ) {
    for (const attempt of attempts) this.add(attempt)
    for (const { at, job, reading } of deliveries) {
      if (job !== undefined && reading !== undefined)
        this.of(job).sightings.push({ sent: at, ended: at, order: 0, reading })
    }
    for (const { sightings } of this.jobs.values()) sightings.sort((a, b) => a.ended - b.ended)
  }

  private of(job: string): Timeline {
    let timeline = this.jobs.get(job)
    if (timeline === undefined) this.jobs.set(job, (timeline = new Timeline()))
    return timeline
  }

  private add({ end, ended, job, operation, order, sent }: Attempt): void {
    if (job === undefined) return
    const timeline = this.of(job)
    // It may have been cancelled although the answer was lost.
    if (operation === "cancel") timeline.cancels.push(sent)
    if (end._tag !== "Answer") return
    if (end.error === "JobNotFoundError") timeline.missing.push(sent)
    if (end.job === undefined) return
    if (operation === "retry") timeline.retries.push({ sent, order })
    timeline.sightings.push({ sent, ended, order, reading: end.job })
    for (const value of end.chunks ?? []) timeline.chunks.push({ ended, order, value })
  }

  /** What becomes of a job that was submitted at a time. */
  planOf(job: string, submittedAt: number): Pick<SubmitPlan, "runs" | "found"> {
    const timeline = this.of(job)
    const starts = [submittedAt, ...timeline.retries.map(({ sent }) => sent)]
    const runs = starts.map((from, index) => this.runOf(job, index, from))
    return { runs, found: foundOf(timeline, submittedAt) }
  }

  private runOf(job: string, run: number, from: number): RunPlan {
    const timeline = this.of(job)
    const seen = timeline.sightings.filter((sighting) => timeline.runAt(sighting) === run)
    const chunks = timeline.chunks.filter((chunk) => timeline.runAt(chunk) === run)
    const cancelledAt = first(timeline.cancels, (at) => at >= from) ?? Infinity
    // What our own cancel ended would have gone on: the replay's client is to cancel it, too.
    const isOurs = ({ ended, reading }: Sighting) => reading.status === "CANCELLED" && cancelledAt <= ended
    const last = first(seen, (sighting) => isTerminal(sighting.reading.status) && !isOurs(sighting))
    const readings = seen.map(({ reading }) => reading)
    const told = last?.reading ?? readings.findLast(({ delayTime }) => delayTime !== undefined)
    const running = seen.filter(({ reading: { status } }) => status === "IN_PROGRESS" || status === "RUNNING")
    const endAfter = last === undefined ? undefined : endOf(last, seen, from)
    const startedAt = running[0] === undefined ? undefined : running[0].ended - from
    const byTimes =
      endAfter === undefined || told?.executionTime === undefined ? undefined : endAfter - told.executionTime
    const startAfter = byTimes ?? told?.delayTime ?? startedAt
    const planned = (at: number, value: Value): Planned => ({
      after: Math.min(at - from, endAfter ?? Infinity),
      value: this.give(job, value)
    })
    return {
      startAfter: startAfter === undefined ? undefined : Math.max(0, startAfter),
      endAfter,
      end: last === undefined ? undefined : this.endPlan(job, last.reading),
      workerId: readings.findLast(({ worker }) => worker !== undefined)?.worker,
      progress: running.flatMap(({ ended, reading: { output } }) =>
        output === undefined ? [] : [planned(ended, output)]
      ),
      chunks: chunks.map(({ ended, value }) => planned(ended, value))
    }
  }

  private endPlan(job: string, { error, output, status }: JobReading): RunPlan["end"] {
    if (!isTerminal(status)) return undefined
    return {
      status,
      output: output === undefined ? undefined : this.give(job, output),
      error: error === undefined ? undefined : this.give(job, error)
    }
  }
}

/** When a run ended: by RunPod's times, but not before it was last seen going on, and not after it was seen to have ended. */
const endOf = (last: Sighting, seen: ReadonlyArray<Sighting>, from: number): number => {
  const { delayTime, executionTime } = last.reading
  const byTimes = delayTime === undefined || executionTime === undefined ? Infinity : delayTime + executionTime
  const goingOn = seen.filter(({ reading }) => !isTerminal(reading.status)).map(({ sent }) => sent - from)
  return Math.max(...goingOn, Math.min(byTimes, last.ended - from))
}

const foundOf = ({ missing, sightings }: Timeline, submittedAt: number): SubmitPlan["found"] => {
  const known = sightings.filter(({ sent }) => sent > submittedAt)
  const firstKnown = known[0]?.sent ?? Infinity
  const lastKnown = known.at(-1)?.ended ?? -Infinity
  const before = missing.filter((at) => at < firstKnown)
  const after = missing.filter((at) => at > lastKnown && at >= firstKnown)
  if (before.length === 0 && after.length === 0) return undefined
  return {
    from: before.length === 0 ? 0 : firstKnown === Infinity ? Infinity : Math.max(...before) + 1 - submittedAt,
    until: after.length === 0 ? Infinity : Math.min(...after) - submittedAt
  }
}
