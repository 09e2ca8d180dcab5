/** An entry of a `Heap`, which notes its place there so that it can be taken out from anywhere. */
export interface Timed {
  readonly at: number
  /** Breaks ties: entries of the same time come out in the order they went in. */
  order: number
  /** -1 when it is in no heap. */
  index: number
}

const isBefore = (a: Timed, b: Timed): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

export class Heap<A extends Timed> {
  private readonly entries: Array<A> = []
  private added = 0

  get size(): number {
    return this.entries.length
  }

  peek(): A | undefined {
    return this.entries[0]
  }

  add(entry: A): void {
    entry.index = this.entries.length
    entry.order = this.added++
    this.entries.push(entry)
    this.up(entry)
  }

  remove(entry: A): void {
    const { index } = entry
    if (index < 0) return
    entry.index = -1
    const last = this.entries.pop()
    if (last === undefined || last === entry) return
    this.place(last, index)
    this.up(last)
    this.down(last)
  }

  private place(entry: A, index: number): void {
    this.entries[index] = entry
    entry.index = index
  }

  private up(entry: A): void {
    while (entry.index > 0) {
      const parent = this.entries[(entry.index - 1) >> 1]
      if (parent === undefined || isBefore(parent, entry)) return
      const index = entry.index
      this.place(entry, parent.index)
      this.place(parent, index)
    }
  }

  private down(entry: A): void {
    for (;;) {
      const left = this.entries[2 * entry.index + 1]
      if (left === undefined) return
      const right = this.entries[2 * entry.index + 2]
      const child = right !== undefined && isBefore(right, left) ? right : left
      if (isBefore(entry, child)) return
      const index = entry.index
      this.place(entry, child.index)
      this.place(child, index)
    }
  }
}
