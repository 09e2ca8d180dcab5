import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { BatchJournalError } from "../../errors/BatchError.js"
import type * as Job from "../../schemas/Job.js"
import type * as JournalEntry from "../../schemas/JournalEntry.js"
import type { BatchJournal } from "../../services/BatchJournal.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { defined } from "../text/json.js"
import { type Scrub, scrubValue } from "../text/scrub.js"

/** An item of a batch: its name, and the SHA-256 of its input where there is a journal. */
export interface Item {
  readonly key: string
  readonly hash: string
}

/** What the journal is told of a job that was submitted. */
export interface SubmittedJob {
  readonly jobId: string
  /** On the monotonic clock. */
  readonly submittedAt: number
  /** How often the job was started: its submits and its retries. */
  readonly attempts: number
}

/** What a batch writes with. */
export interface NotesOptions {
  readonly endpointId: string
  readonly journal: BatchJournal | undefined
  readonly clock: Clock.Clock
  /** Strikes out the API key and the secrets of the batch's options. */
  readonly scrub: Scrub
  /** Stops the batch: nothing may be sent that cannot be noted. */
  readonly onFailure: (error: BatchJournalError) => Effect.Effect<void>
}

/**
 * What a batch writes into its journal; without one there is nothing to do. Each entry is written uninterruptibly, and is
 * `false` when it could not be, after `onFailure`.
 */
export class Notes {
  constructor(private readonly options: NotesOptions) {}

  private append(entry: (at: number) => JournalEntry.Entry): Effect.Effect<boolean> {
    const { clock, journal, onFailure } = this.options
    if (journal === undefined) return Effect.succeed(true)
    return Effect.uninterruptible(
      Effect.suspend(() => journal.append(entry(clock.unsafeCurrentTimeMillis()))).pipe(
        Effect.as(true),
        Effect.catchAll((error) => Effect.as(onFailure(error), false))
      )
    )
  }

  /** The item is about to be submitted, with a webhook whose URL was issued under this name. */
  intent(item: Item, webhook: string | undefined): Effect.Effect<boolean> {
    return this.append((at) => ({ _tag: "Intent", ...item, at, ...defined({ webhook }) }))
  }

  /** No job runs for the item. */
  released(item: Item): Effect.Effect<boolean> {
    return this.append((at) => ({ _tag: "Released", ...item, at }))
  }

  submitted(item: Item, { attempts, jobId, submittedAt }: SubmittedJob): Effect.Effect<boolean> {
    const { clock, endpointId, journal } = this.options
    if (journal === undefined) return Effect.succeed(true)
    const entry = this.append((at) => ({
      _tag: "Submitted",
      ...item,
      at: Math.round(at - (monotonicMillis(clock) - submittedAt)),
      jobId,
      attempts
    }))
    return Effect.tap(entry, (isNoted) =>
      isNoted
        ? Effect.void
        : Effect.logWarning(`Job ${jobId} on endpoint ${endpointId} goes on, but could not be noted in the journal`)
    )
  }

  settled(item: Item, job: Job.TerminalJob, attempts: number): Effect.Effect<boolean> {
    const { scrub } = this.options
    return this.append((at) => ({
      _tag: "Settled",
      ...item,
      at,
      jobId: job.id,
      attempts,
      status: job.status,
      ...defined({
        delayTime: job.delayTime,
        executionTime: job.executionTime,
        workerId: job.workerId,
        output: scrubValue(job.output, scrub),
        error: scrubValue(job.error, scrub)
      })
    }))
  }
}
