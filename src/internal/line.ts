import * as Effect from "effect/Effect"

interface Place {
  readonly resume: (effect: Effect.Effect<void>) => void
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
 */
export class Line {
  private occupied = false
  private first: Place | undefined = undefined
  private last: Place | undefined = undefined

  /** Whether a fiber that entered now would be at the head at once. */
  get isEmpty(): boolean {
    return !this.occupied
  }

  readonly enter: Effect.Effect<void> = Effect.suspend(() => {
    if (!this.occupied) {
      this.occupied = true
      return Effect.void
    }
    return Effect.async<void>((resume) => {
      const place: Place = { resume, previous: this.last, next: undefined, isHead: false }
      if (this.last === undefined) this.first = place
      else this.last.next = place
      this.last = place
      return Effect.sync(() => (place.isHead ? this.leave() : this.remove(place)))
    })
  })

  leave(): void {
    const place = this.first
    if (place === undefined) {
      this.occupied = false
      return
    }
    this.remove(place)
    place.isHead = true
    place.resume(Effect.void)
  }

  private remove(place: Place): void {
    if (place.previous === undefined) this.first = place.next
    else place.previous.next = place.next
    if (place.next === undefined) this.last = place.previous
    else place.next.previous = place.previous
  }
}
