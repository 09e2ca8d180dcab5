import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Batch from "../../services/Batch.js"
import { callable } from "../effect/callable.js"
import { defined } from "../text/json.js"
import { monotonicMillis } from "../pace/monotonic.js"
import { record } from "../telemetry/record.js"

/** What progress is estimated from. */
export type Start = Exclude<Effect.Effect.Success<Batch.Tracker["begun"]>, undefined>

export const tracker = callable(
  ({ total }: Batch.TrackerOptions): Effect.Effect<Batch.Tracker> =>
    Effect.sync(() => {
      if (total !== undefined && !(Number.isSafeInteger(total) && total >= 0)) {
        throw new RangeError(`the total of a tracker must be a whole number from 0 on, got ${total}`)
      }
      return {
        counts: { total, done: 0, failed: 0, replayed: 0, inFlight: 0 },
        begun: Deferred.unsafeMake(FiberId.none),
        ended: Deferred.unsafeMake(FiberId.none)
      }
    }),
  {}
)

export const begin = ({ begun }: Batch.Tracker, start: Start): Effect.Effect<unknown> => Deferred.succeed(begun, start)

/** The batch has ended, begun or not. */
export const end = ({ begun, ended }: Batch.Tracker): Effect.Effect<unknown> =>
  Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.succeed(ended, undefined))

/** How old what `/health` said may be. */
const healthAge = 5_000
/** How long `/health` may take before the numbers go out without it. */
const healthPatience = "1 second"
/** The rate is that of so many intervals. */
const rateIntervals = 30

class Reader {
  private readonly samples: Array<{ readonly at: number; readonly fresh: number }>
  private gauges: Pick<Batch.Progress, "running" | "queued"> = {}
  private askedAt = -Infinity

  constructor(
    private readonly counts: Batch.Tracker["counts"],
    private readonly start: Omit<Start, "endpointId">,
    private readonly now: () => number
  ) {
    this.samples = [{ at: start.startedAt, fresh: 0 }]
  }

  /** Asks for the endpoint's gauges when they are old. */
  readonly ask = Effect.suspend(() => {
    const now = this.now()
    if (now - this.askedAt < healthAge) return Effect.void
    this.askedAt = now
    return this.start.health.pipe(
      Effect.map(({ jobs }) => {
        this.gauges = defined({ running: jobs.inProgress, queued: jobs.inQueue })
      }),
      Effect.timeoutOption(healthPatience),
      Effect.ignore
    )
  })

  /** How many milliseconds so many items take; before the first outcome, by what the endpoint's earlier jobs took. */
  private etaOf(left: number, rate: number): number | undefined {
    if (left === 0) return 0
    if (rate > 0) return (left / rate) * 1000
    const execution = this.start.usualExecution()
    const running = this.gauges.running ?? this.counts.inFlight
    return execution === undefined ? undefined : (left * execution) / Math.max(1, running)
  }

  look(ended: boolean): Batch.Progress {
    const { done, failed, inFlight, replayed } = this.counts
    // Who said how long a stream is may have been wrong.
    const total = this.counts.total === undefined ? undefined : Math.max(this.counts.total, done + inFlight)
    const now = this.now()
    const fresh = done - replayed
    this.samples.push({ at: now, fresh })
    if (this.samples.length > rateIntervals) this.samples.shift()
    const first = this.samples[0] ?? { at: now, fresh }
    const seconds = (now - first.at) / 1000
    const rate = seconds > 0 ? (fresh - first.fresh) / seconds : 0
    const eta = total === undefined ? undefined : this.etaOf(total - done, rate)
    return {
      done,
      failed,
      inFlight,
      rate,
      elapsed: Duration.millis(Math.round(now - this.start.startedAt)),
      ended,
      ...(ended ? { running: 0, queued: 0 } : this.gauges),
      ...defined({ total, eta: eta === undefined ? undefined : Duration.millis(Math.round(eta)) })
    }
  }
}

export const progress: typeof Batch.progress = ({ begun, counts, ended }, options = {}) =>
  Stream.unwrap(
    Effect.map(Effect.zip(Effect.clock, Deferred.await(begun)), ([clock, start]) => {
      const interval = Duration.decode(options.interval ?? "1 second")
      const now = () => monotonicMillis(clock)
      const neverBegun = { startedAt: now(), health: Effect.never, usualExecution: () => undefined }
      const reader = new Reader(counts, start ?? neverBegun, now)
      const noteEta = (eta: Duration.Duration | undefined) =>
        start === undefined || eta === undefined
          ? Effect.void
          : record(start.endpointId, ({ batchEta }, labels) => batchEta.unsafeUpdate(Duration.toSeconds(eta), labels))
      const next = Effect.map(Effect.timeoutOption(Deferred.await(ended), interval), Option.isSome)
      return Stream.paginateEffect(
        Deferred.isDone(ended),
        (pause: Effect.Effect<boolean>) =>
          Effect.gen(function* () {
            const hasEnded = yield* pause
            if (!hasEnded) yield* reader.ask
            const progress = reader.look(hasEnded)
            yield* noteEta(progress.eta)
            return [progress, hasEnded ? Option.none() : Option.some(next)] as const
          })
        // Nobody knows it any more.
      ).pipe(Stream.ensuring(noteEta(Duration.zero)))
    })
  )
