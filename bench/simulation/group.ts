/** The connections of a process to the database, and one statement for all that came while the last was under way: `internal/groups.ts`. */
import type { Runner } from "./runner.js"
import { limits, times } from "./setup.js"

export class Connections {
  private free: number = limits.connections
  private readonly waiting: Array<() => void> = []
  private first = 0

  constructor(private readonly runner: Runner) {}

  /** The database does it whatever becomes of the process meanwhile, which may never get the answer. */
  statement<A>(commit: () => A, answered: (result: A) => void = () => undefined): void {
    const run = () => {
      const { events, assumed } = this.runner.world
      const took = assumed.statement
      let result: A
      events.after(took / 2, () => (result = commit()))
      this.runner.after(took, () => {
        this.next()
        answered(result)
      })
    }
    if (this.free === 0) return void this.waiting.push(run)
    this.free--
    run()
  }

  private next(): void {
    const next = this.waiting[this.first]
    if (next === undefined) {
      this.waiting.length = 0
      this.first = 0
      this.free++
    } else {
      this.first++
      next()
    }
  }
}

export class Group<A> {
  private waiting: Array<A> = []
  private isRunning = false

  private lastBegan = -Infinity

  constructor(
    private readonly runner: Runner,
    private readonly options: {
      readonly count: () => void
      /** Whether it was written. */
      readonly commit: (entry: A) => boolean
      readonly answered: (entry: A, isWritten: boolean) => void
    }
  ) {}

  add(entry: A): void {
    this.waiting.push(entry)
    if (!this.isRunning) this.next()
  }

  private next(): void {
    this.isRunning = this.waiting.length > 0
    if (!this.isRunning) return
    const wait = Math.max(times.gather, this.lastBegan + times.apart - this.runner.world.events.now)
    this.runner.after(wait, () => this.run())
  }

  private run(): void {
    const { answered, commit, count } = this.options
    const entries = this.waiting.splice(0, limits.group)
    this.lastBegan = this.runner.world.events.now
    count()
    this.runner.connections.statement(
      () => entries.map(commit),
      (written) => {
        for (const [i, entry] of entries.entries()) answered(entry, written[i] ?? false)
        this.next()
      }
    )
  }
}
