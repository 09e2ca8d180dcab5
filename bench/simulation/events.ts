/** What happens, in the order of time: the clock of the model. */

/** Whose event it is: it decides whether and when it happens. */
export interface Owner {
  readonly go: (run: () => void) => void
}

interface Event {
  readonly at: number
  /** Of two at one time the one that was planned first comes first. */
  readonly order: number
  readonly run: () => void
  readonly owner: Owner | undefined
}

const isBefore = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

/** Times are milliseconds. */
export class Events {
  now = 0
  private planned = 0
  /** A binary heap. */
  private readonly heap: Array<Event> = []

  at(time: number, run: () => void, owner?: Owner): void {
    const { heap } = this
    const event: Event = { at: Math.max(time, this.now), order: this.planned++, run, owner }
    let i = heap.length
    heap.push(event)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!isBefore(event, heap[parent]!)) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = event
  }

  after(millis: number, run: () => void, owner?: Owner): void {
    this.at(this.now + millis, run, owner)
  }

  /** Until it is so, or nothing is left to happen. */
  run(until: () => boolean): void {
    while (this.heap.length > 0 && !until()) {
      const event = this.next()
      this.now = event.at
      if (event.owner === undefined) event.run()
      else event.owner.go(event.run)
    }
  }

  private next(): Event {
    const { heap } = this
    const first = heap[0]!
    const last = heap.pop()!
    if (heap.length === 0) return first
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = last
    return first
  }
}
