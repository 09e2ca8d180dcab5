/** What those wait for who look again whenever something has changed. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"

export class Signal {
  private next = Deferred.unsafeMake<void>(FiberId.none)
  /** Whether it is given within `longest` anyway. */
  private isTimed = false

  /** `longest`: in how many milliseconds it is given at the latest where somebody waits: with one timer for all of them. */
  constructor(
    private readonly longest: number,
    private readonly fork: (effect: Effect.Effect<unknown>) => unknown
  ) {}

  /** Wakes those who wait. */
  give(): void {
    const { next } = this
    this.next = Deferred.unsafeMake(FiberId.none)
    Deferred.unsafeDone(next, Effect.void)
  }

  readonly wait: Effect.Effect<void> = Effect.suspend(() => {
    const { next } = this
    if (!this.isTimed) {
      this.isTimed = true
      const give = Effect.sync(() => {
        this.isTimed = false
        this.give()
      })
      this.fork(Effect.delay(give, Duration.millis(this.longest)))
    }
    return Deferred.await(next)
  })
}
