/** One statement for all that came meanwhile: while it waited for more, or the last was under way. */
import * as Context from "effect/Context"
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
  /** How long after a group began its runner begins the next one, at the soonest, in milliseconds. Default: 0. */
  readonly apart?: number
  /** How many groups may be under way: another one begins when as many wait as one takes, or all under way are late. Default: 1. */
  readonly atOnce?: number
}

interface Waiting<A, B, E> {
  readonly item: A
  readonly key: string
  readonly size: number
  readonly resume: (result: Effect.Effect<B, E>) => void
}

interface UnderWay {
  /** Whether it holds up no other any more. */
  isLate: boolean
}

/** When a group under way is late: its connection may be dead without a word. In milliseconds. */
const late = 1_000
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
  /** The groups under way. */
  private readonly underWay = new Set<UnderWay>()
  private lastBegan = -Infinity

  constructor(
    private readonly options: Options<A, B, E>,
    private readonly fork: (effect: Effect.Effect<void>) => unknown
  ) {}

  add(item: A, resume: (result: Effect.Effect<B, E>) => void): void {
    const size = this.options.sizeOf(item)
    this.waiting.push({ item, key: this.options.keyOf(item), size, resume })
    this.size += size
    this.run()
  }

  /** One more runner, if there is something for it to do. */
  private run(): void {
    const { atOnce = 1 } = this.options
    if (this.waiting.length === 0 || this.runners >= atOnce || (this.isBusy && !this.isFull)) return
    this.runners++
    this.fork(this.runAll)
  }

  /** Whether a runner will soon go on with what waits. */
  private get isBusy(): boolean {
    let late = 0
    for (const { isLate } of this.underWay) if (isLate) late++
    return this.runners > late
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

  private readonly runAll: Effect.Effect<void> = Effect.suspend(() =>
    this.waiting.length === 0 ? this.end() : Effect.zipRight(this.untilNext, this.runNext)
  )

  /** In the same step as the look at what waits: who comes next begins anew. */
  private end(): Effect.Effect<void> {
    this.runners--
    return Effect.void
  }

  private readonly runNext: Effect.Effect<void> = Effect.clockWith((clock) => {
    const group = this.next()
    // All wait for a group under way, whose runner goes on with them.
    if (group.length === 0) return this.end()
    this.lastBegan = monotonicMillis(clock)
    const underWay = this.begin()
    return Effect.exit(this.options.run(group.map(({ item }) => item))).pipe(
      Effect.flatMap((exit) => {
        this.underWay.delete(underWay)
        for (const [i, { key, resume }] of group.entries()) {
          this.running.delete(key)
          resume(Exit.flatMap(exit, (results) => results[i] ?? Exit.die("A group lacks a result")))
        }
        return this.runAll
      })
    )
  })

  private begin(): UnderWay {
    const underWay = { isLate: false }
    this.underWay.add(underWay)
    const onLate = Effect.sync(() => {
      underWay.isLate = true
      this.run()
    })
    if (this.options.atOnce !== undefined) this.fork(Effect.delay(onLate, late))
    return underWay
  }

  /** Also those whose group was under way: its fiber has ended without a word. */
  interruptAll(): void {
    for (const { resume } of [...this.running.values(), ...this.waiting]) resume(Effect.interrupt)
  }
}

export const make = <A, B, E>(options: Options<A, B, E>): Effect.Effect<Ask<A, B, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    // Groups are nobody's: where this is made within a transaction, they come after it.
    const runtime = yield* Effect.mapInputContext(Effect.runtime<never>(), (_: Context.Context<never>) =>
      Context.empty()
    )
    const fork = (effect: Effect.Effect<void>) => Runtime.runFork(runtime)(Effect.interruptible(effect), { scope })
    const groups = new Groups(options, fork)
    yield* Effect.addFinalizer(() => Effect.sync(() => groups.interruptAll()))
    // Who is interrupted leaves its item in the group: it may be on its way.
    return (item) => Effect.async((resume) => groups.add(item, resume))
  })
