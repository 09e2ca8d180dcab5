import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { RunPodError } from "../../errors/RunPodError.js"
import type { Health } from "../../schemas/Health.js"
import type { Progress, Tracker } from "../../services/Batch.js"
import { defined } from "../text/json.js"
import { monotonicMillis } from "../pace/monotonic.js"

export const BoardKey: unique symbol = Symbol.for("effect-runpod/Batch/Board")

/** Where a batch stands: plain state that it writes and `progress` reads. */
export interface Board {
  total: number | undefined
  done: number
  failed: number
  replayed: number
  inFlight: number
  /** On the monotonic clock. */
  startedAt: number
  health: Effect.Effect<Health, RunPodError> | undefined
  /** How many milliseconds a job of the endpoint usually runs, where earlier ones tell. */
  usualExecution: () => number | undefined
  readonly begun: Deferred.Deferred<void>
  readonly ended: Deferred.Deferred<void>
}

export const makeBoard: Effect.Effect<Board> = Effect.zipWith(
  Deferred.make<void>(),
  Deferred.make<void>(),
  (begun, ended) => ({
    total: undefined,
    done: 0,
    failed: 0,
    replayed: 0,
    inFlight: 0,
    startedAt: 0,
    health: undefined,
    usualExecution: () => undefined,
    begun,
    ended
  })
)

export const tracker: Effect.Effect<Tracker> = Effect.map(makeBoard, (board) => ({ [BoardKey]: board }))

/** How old what `/health` said may be. */
const healthAge = 5_000
/** How long `/health` may take before the numbers go out without it. */
const healthPatience = "1 second"
/** The rate is that of so many intervals. */
const memory = 30

export const progress = (
  { [BoardKey]: board }: Tracker,
  options: { readonly interval?: Duration.DurationInput | undefined } = {}
): Stream.Stream<Progress> =>
  Stream.unwrap(
    Effect.map(Effect.clock, (clock) => {
      const interval = Duration.decode(options.interval ?? "1 second")
      const samples: Array<{ readonly at: number; readonly fresh: number }> = []
      let gauges: Pick<Progress, "running" | "queued"> = {}
      let askedAt = -Infinity

      const ask = Effect.suspend(() => {
        const now = monotonicMillis(clock)
        if (board.health === undefined || now - askedAt < healthAge) return Effect.void
        askedAt = now
        return board.health.pipe(
          Effect.map(({ jobs }) => {
            gauges = defined({ running: jobs.inProgress, queued: jobs.inQueue })
          }),
          Effect.timeoutOption(healthPatience),
          Effect.ignore
        )
      })

      /** Before the first outcome, what the endpoint's earlier jobs say. */
      const estimated = (left: number): number | undefined => {
        const execution = board.usualExecution()
        return execution === undefined ? undefined : (left * execution) / Math.max(1, gauges.running ?? board.inFlight)
      }

      const look = (ended: boolean): Progress => {
        const now = monotonicMillis(clock)
        if (samples.length === 0) samples.push({ at: board.startedAt, fresh: 0 })
        samples.push({ at: now, fresh: board.done - board.replayed })
        if (samples.length > memory) samples.shift()
        const first = samples[0] ?? { at: now, fresh: 0 }
        const seconds = (now - first.at) / 1000
        const rate = seconds > 0 ? (board.done - board.replayed - first.fresh) / seconds : 0
        const left = board.total === undefined ? undefined : board.total - board.done
        const eta = left === undefined || left === 0 ? left : rate > 0 ? (left / rate) * 1000 : estimated(left)
        return {
          done: board.done,
          failed: board.failed,
          inFlight: board.inFlight,
          rate,
          elapsed: Duration.millis(Math.round(now - board.startedAt)),
          ended,
          ...gauges,
          ...defined({ total: board.total, eta: eta === undefined ? undefined : Duration.millis(Math.round(eta)) })
        }
      }

      const page = (pause: Effect.Effect<boolean>) =>
        Effect.gen(function* () {
          const ended = yield* pause
          if (!ended) yield* ask
          return [look(ended), ended ? Option.none() : Option.some(next)] as const
        })
      const next: Effect.Effect<boolean> = Effect.map(
        Effect.timeoutOption(Deferred.await(board.ended), interval),
        Option.isSome
      )
      const first = Effect.zipRight(Deferred.await(board.begun), Deferred.isDone(board.ended))
      return Stream.paginateEffect(first, page)
    })
  )
