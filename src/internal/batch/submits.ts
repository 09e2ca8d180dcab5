import * as Effect from "effect/Effect"
import type { Alarm, Timer } from "../pace/timer.js"

interface Submit {
  /** Takes it back if it was not sent yet. */
  readonly withdraw: () => void
}

/** The submits of a batch that are under way, and who waits until they are through. */
export class Submits {
  private readonly underWay = new Set<Submit>()
  private readonly waiting = new Set<() => void>()

  constructor(private readonly timer: Timer) {}

  add(submit: Submit): void {
    this.underWay.add(submit)
  }

  delete(submit: Submit): void {
    this.underWay.delete(submit)
    if (this.underWay.size === 0) for (const end of this.waiting) end()
  }

  withdrawAll(): void {
    for (const submit of this.underWay) submit.withdraw()
  }

  /** Waits until none is under way, or until then on the monotonic clock. */
  awaitThrough(until: number): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      if (this.underWay.size === 0 || until <= this.timer.now()) {
        resume(Effect.void)
        return
      }
      const clear = () => {
        this.waiting.delete(end)
        this.timer.clear(alarm)
      }
      const end = () => {
        clear()
        resume(Effect.void)
      }
      const alarm: Alarm = { at: until, order: 0, index: -1, run: end }
      this.waiting.add(end)
      // It may be due by now, and end at once.
      this.timer.add(alarm)
      return Effect.sync(clear)
    })
  }
}
