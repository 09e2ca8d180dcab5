/** One statement for all that came while the last was under way. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { monotonicMillis } from "./monotonic.js"

interface Options<A, B, E> {
  /** Of two with one key the later one waits until the other is done. */
  readonly keyOf: (item: A) => string
  readonly sizeOf: (item: A) => number
  /** The results, one for each item. */
  readonly run: (items: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<Exit.Exit<B, E>>>
  /** For how many milliseconds a group waits for more than its first item. Default: until all that is asked for in the same moment is in it. */
  readonly gather?: number
  /** How long after a group began the next one does, at the soonest, in milliseconds. Default: 0. */
  readonly apart?: number
  /** How many groups may be under way: another one begins when more wait than one of them takes. Default: 1. */
  readonly atOnce?: number
}

interface Waiting<A, B, E> {
  readonly item: A
  readonly key: string
  readonly size: number
  readonly resume: (result: Effect.Effect<B, E>) => void
}

const mostItems = 500
const mostSize = 4 * 1024 * 1024

/** Asks for an item to be in a group, and waits for its result. The groups end with the scope. */
export type Ask<A, B, E> = (item: A) => Effect.Effect<B, E>

class Groups<A, B, E> {
  private waiting: Array<Waiting<A, B, E>> = []
  private size = 0
  /** What is in the groups under way, by its key. */
  private readonly running = new Map<string, Waiting<A, B, E>>()
  private runners = 0
  private lastBegan = -Infinity

  constructor(private readonly options: Options<A, B, E>) {}

  /** Whether this one is to be run for by one more runner. */
  add(item: A, resume: (result: Effect.Effect<B, E>) => void): boolean {
    const size = this.options.sizeOf(item)
    this.waiting.push({ item, key: this.options.keyOf(item), size, resume })
    this.size += size
    const { atOnce = 1 } = this.options
    if (this.runners > 0 && (this.runners >= atOnce || !this.isFull)) return false
    this.runners++
    return true
  }

  private get isFull(): boolean {
    return this.waiting.length >= mostItems || this.size >= mostSize
  }

  private next(): ReadonlyArray<Waiting<A, B, E>> {
    const keys = new Set<string>()
    const group: Array<Waiting<A, B, E>> = []
    const rest: Array<Waiting<A, B, E>> = []
    let size = 0
    for (const one of this.waiting) {
      const fits = group.length === 0 || (group.length < mostItems && size + one.size <= mostSize)
      if (fits && !keys.has(one.key) && !this.running.has(one.key)) {
        size += one.size
        group.push(one)
      } else rest.push(one)
      // What comes later of this key waits, too.
      keys.add(one.key)
    }
    this.waiting = rest
    this.size -= size
    for (const one of group) this.running.set(one.key, one)
    return group
  }

  private readonly untilNext: Effect.Effect<void> = Effect.clockWith((clock) => {
    const { apart = 0, gather = 0 } = this.options
    const wait = Math.max(gather, this.lastBegan + apart - monotonicMillis(clock))
    return wait > 0 ? Effect.sleep(wait) : Effect.yieldNow()
  })

  readonly runAll: Effect.Effect<void> = Effect.suspend(() =>
    this.waiting.length === 0 ? this.end : Effect.zipRight(this.untilNext, this.runNext)
  )

  private readonly end = Effect.sync(() => void this.runners--)

  private readonly runNext: Effect.Effect<void> = Effect.clockWith((clock) => {
    const group = this.next()
    // All wait for a group under way, whose runner goes on with them.
    if (group.length === 0) return this.end
    this.lastBegan = monotonicMillis(clock)
    return Effect.exit(this.options.run(group.map(({ item }) => item))).pipe(
      Effect.flatMap((exit) => {
        for (const [i, { key, resume }] of group.entries()) {
          this.running.delete(key)
          resume(Exit.flatMap(exit, (results) => results[i] ?? Exit.die("A group lacks a result")))
        }
        return this.runAll
      })
    )
  })

  /** Also those whose group was under way: its fiber has ended without a word. */
  interruptAll(): void {
    for (const { resume } of [...this.running.values(), ...this.waiting]) resume(Effect.interrupt)
  }
}

export const make = <A, B, E>(options: Options<A, B, E>): Effect.Effect<Ask<A, B, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const runtime = yield* Effect.runtime<never>()
    const groups = new Groups(options)
    yield* Effect.addFinalizer(() => Effect.sync(() => groups.interruptAll()))
    // Who is interrupted leaves its item in the group: it may be on its way.
    return (item) =>
      Effect.async((resume) => {
        if (groups.add(item, resume)) Runtime.runFork(runtime)(Effect.interruptible(groups.runAll), { scope })
      })
  })
