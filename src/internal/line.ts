import * as Effect from "effect/Effect"

interface Place {
  resume: ((effect: Effect.Effect<void>) => void) | undefined
  previous: Place | undefined
  next: Place | undefined
  isHead: boolean
}

/**
 * A line of fibers, first come, first served: `enter` returns when its fiber is at the head, `leave` passes the head on.
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

  enter(restore: (effect: Effect.Effect<void>) => Effect.Effect<void>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (!this.occupied) {
        this.occupied = true
        return Effect.void
      }
      const place: Place = { resume: undefined, previous: this.last, next: undefined, isHead: false }
      if (this.last === undefined) this.first = place
      else this.last.next = place
      this.last = place
      const turn = Effect.async<void>((resume) => {
        if (place.isHead) resume(Effect.void)
        else place.resume = resume
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
    place.resume?.(Effect.void)
  }

  private remove(place: Place): void {
    if (place.previous === undefined) this.first = place.next
    else place.previous.next = place.next
    if (place.next === undefined) this.last = place.previous
    else place.next.previous = place.previous
  }
}
