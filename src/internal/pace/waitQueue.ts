import * as Effect from "effect/Effect"
import type { Restore } from "./mask.js"
import type { Timer } from "./timer.js"

/** How long to wait: until a time on a timer. */
export interface Until {
  readonly timer: Timer
  readonly deadline: number
}

interface Place {
  resume: ((effect: Effect.Effect<boolean>) => void) | undefined
  previous: Place | undefined
  next: Place | undefined
  isHead: boolean
}

/**
 * A line of fibers, first come, first served: `enter` returns true when its fiber is at the head, `leave` passes the head
 * on. A fiber that has waited until its deadline is out of the line: `enter` returns false.
 *
 * An `Effect.Semaphore` wakes all of its waiters at every release. With this line before it only one fiber ever waits
 * there, and a release costs the same for ten waiters and for ten thousand. Interrupting a waiting fiber takes it out of
 * the line. The state is plain and touched only synchronously.
 *
 * `enter` belongs into an uninterruptible region and gets its `restore`: only the waiting itself may be interrupted, for
 * a fiber can be interrupted between any two steps, and a head that nobody holds would stop the line for ever.
 */
export class Line {
  private occupied = false
  private first: Place | undefined = undefined
  private last: Place | undefined = undefined

  /** Whether a fiber that entered now would be at the head at once. */
  get isEmpty(): boolean {
    return !this.occupied
  }

  enter(restore: Restore, until?: Until): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      if (!this.occupied) {
        this.occupied = true
        return Effect.succeed(true)
      }
      const place: Place = { resume: undefined, previous: this.last, next: undefined, isHead: false }
      if (this.last === undefined) this.first = place
      else this.last.next = place
      this.last = place
      const turn = Effect.async<boolean>((resume) => {
        if (place.isHead) {
          resume(Effect.succeed(true))
          return
        }
        if (until === undefined || until.deadline === Infinity) {
          place.resume = resume
          return
        }
        const { deadline, timer } = until
        const alarm = timer.set(deadline, () => {
          this.remove(place)
          resume(Effect.succeed(false))
        })
        place.resume = (turn) => {
          timer.clear(alarm)
          resume(turn)
        }
        return Effect.sync(() => timer.clear(alarm))
      })
      return Effect.onInterrupt(restore(turn), () =>
        Effect.sync(() => (place.isHead ? this.leave() : this.remove(place)))
      )
    })
  }

  leave(): void {
    const place = this.first
    if (place === undefined) {
      this.occupied = false
      return
    }
    this.remove(place)
    place.isHead = true
    place.resume?.(Effect.succeed(true))
  }

  private remove(place: Place): void {
    if (place.previous === undefined) this.first = place.next
    else place.previous.next = place.next
    if (place.next === undefined) this.last = place.previous
    else place.next.previous = place.previous
  }
}
