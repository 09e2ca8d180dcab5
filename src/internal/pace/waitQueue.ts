import * as Effect from "effect/Effect"
import type { Restore } from "../effect/fiber.js"
import type { Timer } from "./timer.js"

/** How long a fiber waits. */
export interface Until {
  readonly timer: Timer
  /** When it gives up, on the monotonic clock, as things stand: it asks again then. */
  readonly deadline: () => number
}

interface Waiter {
  resume: ((effect: Effect.Effect<boolean>) => void) | undefined
  previous: Waiter | undefined
  next: Waiter | undefined
  isHead: boolean
}

/**
 * A queue of fibers, first come, first served: `enter` returns true when its fiber is at the head, `leave` passes the head
 * on. A fiber that has waited until its deadline is out of the queue: `enter` returns false.
 *
 * A release costs the same for ten waiters and for ten thousand. `enter` belongs into an uninterruptible region and gets its
 * `restore`: a fiber can be interrupted between any two steps, and a head that nobody holds would stop the queue for ever.
 */
export class WaitQueue {
  private hasHead = false
  private first: Waiter | undefined = undefined
  private last: Waiter | undefined = undefined
  /** How many wait for their turn. */
  size = 0

  /** Whether a fiber that entered now would be at the head at once. */
  get isEmpty(): boolean {
    return !this.hasHead
  }

  enter(restore: Restore, until?: Until): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      if (!this.hasHead) {
        this.hasHead = true
        return Effect.succeed(true)
      }
      const waiter: Waiter = { resume: undefined, previous: this.last, next: undefined, isHead: false }
      if (this.last === undefined) this.first = waiter
      else this.last.next = waiter
      this.last = waiter
      this.size++
      const turn = Effect.async<boolean>((resume) => {
        if (waiter.isHead) return resume(Effect.succeed(true))
        const deadline = until?.deadline() ?? Infinity
        if (until === undefined || deadline === Infinity) {
          waiter.resume = resume
          return
        }
        const { timer } = until
        const onAlarm = () => {
          const deadline = until.deadline()
          if (deadline > timer.now()) {
            alarm = timer.set(deadline, onAlarm)
            return
          }
          this.remove(waiter)
          resume(Effect.succeed(false))
        }
        let alarm = timer.set(deadline, onAlarm)
        waiter.resume = (turn) => {
          timer.clear(alarm)
          resume(turn)
        }
        return Effect.sync(() => timer.clear(alarm))
      })
      return Effect.onInterrupt(restore(turn), () =>
        Effect.sync(() => (waiter.isHead ? this.leave() : this.remove(waiter)))
      )
    })
  }

  leave(): void {
    const waiter = this.first
    if (waiter === undefined) {
      this.hasHead = false
      return
    }
    this.remove(waiter)
    waiter.isHead = true
    waiter.resume?.(Effect.succeed(true))
  }

  private remove(waiter: Waiter): void {
    this.size--
    if (waiter.previous === undefined) this.first = waiter.next
    else waiter.previous.next = waiter.next
    if (waiter.next === undefined) this.last = waiter.previous
    else waiter.next.previous = waiter.previous
  }
}
