/** What changes. */
interface Versioned {
  readonly id: string
  /** Of its newest change. */
  version: number
  readonly isKept: boolean
}

interface Entry<A> {
  readonly version: number
  readonly job: A
}

/** What is read of the changes at once. */
export interface Page<A> {
  readonly cursor: number
  readonly isReset: boolean
  readonly hasMore: boolean
  readonly kept: ReadonlyArray<A>
  readonly removed: ReadonlyArray<string>
}

/** So many entries may be out of date before they are dropped. */
const slack = 1_024

/** The jobs of an endpoint in the order of their newest changes. A reader gets those that changed after its cursor. */
export class Changes<A extends Versioned> {
  private entries: Array<Entry<A>> = []
  private version = 0
  /** Removals up to this version are forgotten: a reader that has not seen them begins anew. */
  private floor = 0

  /** Notes that a job has changed or is forgotten; `kept` is how many jobs the endpoint has. */
  note(job: A, kept: number): void {
    job.version = ++this.version
    this.entries.push({ version: job.version, job })
    if (this.entries.length > 2 * kept + slack) this.compact()
  }

  private compact(): void {
    this.entries = this.entries.filter(({ job, version }) => {
      if (job.version !== version) return false
      if (!job.isKept) this.floor = version
      return job.isKept
    })
  }

  /** The index of the first entry after a version. */
  private indexAfter(version: number): number {
    let low = 0
    let high = this.entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.entries[middle]?.version ?? Infinity) <= version) low = middle + 1
      else high = middle
    }
    return low
  }

  read(after: number, limit: number): Page<A> {
    const isReset = after <= 0 || after < this.floor || after > this.version
    const kept: Array<A> = []
    const removed: Array<string> = []
    let cursor = isReset ? this.floor : after
    let index = isReset ? 0 : this.indexAfter(after)
    for (; index < this.entries.length && kept.length + removed.length < limit; index++) {
      const entry = this.entries[index]
      if (entry === undefined) break
      cursor = entry.version
      if (entry.job.version !== entry.version) continue
      if (entry.job.isKept) kept.push(entry.job)
      else if (!isReset) removed.push(entry.job.id)
    }
    return { cursor, isReset, hasMore: index < this.entries.length, kept, removed }
  }
}
