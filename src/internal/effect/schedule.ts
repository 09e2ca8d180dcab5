/** What our own schedules are made of, and what waits by a schedule of the caller's. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/** Waits as the schedule says after this input; fails when the schedule has come to its end. */
export type Wait<In> = (input: In) => Effect.Effect<unknown, unknown>

export const start = <In>(schedule: Schedule.Schedule<unknown, In>): Effect.Effect<Wait<In>> =>
  Effect.map(Schedule.driver(schedule), (driver) => (input) => driver.next(input))

export const recurring = <In>(options: {
  readonly delay: (input: In, recurrences: number) => Effect.Effect<number>
  readonly times?: number | undefined
  /** Whether it goes on after an input. */
  readonly while?: ((input: In) => Effect.Effect<boolean>) | undefined
}): Schedule.Schedule<unknown, In> => {
  const { delay, times = Infinity } = options
  const schedule = Schedule.recurs(times).pipe(
    Schedule.intersect(Schedule.identity<In>()),
    Schedule.modifyDelayEffect(([recurrences, input]) => Effect.map(delay(input, recurrences), Duration.millis))
  )
  return options.while === undefined ? schedule : Schedule.whileInputEffect(schedule, options.while)
}
