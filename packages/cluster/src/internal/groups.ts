/** One statement for all that came while the last was under way. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"

interface Options<A, B, E> {
  /** No two of one key are in a group; a later one waits. */
  readonly keyOf: (item: A) => string
  readonly sizeOf: (item: A) => number
  /** The results, one for each item. */
  readonly run: (items: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<Exit.Exit<B, E>>>
}

interface Waiting<A, B, E> {
  readonly item: A
  readonly resume: (result: Effect.Effect<B, E>) => void
}

const mostItems = 500
const mostSize = 4 * 1024 * 1024

/** Asks for an item to be in a group, and waits for its result. The groups end with the scope. */
export type Ask<A, B, E> = (item: A) => Effect.Effect<B, E>

export const make = <A, B, E>(options: Options<A, B, E>): Effect.Effect<Ask<A, B, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const runtime = yield* Effect.runtime<never>()
    let waiting: Array<Waiting<A, B, E>> = []
    let running: ReadonlyArray<Waiting<A, B, E>> = []
    let isRunning = false

    const next = (): ReadonlyArray<Waiting<A, B, E>> => {
      const keys = new Set<string>()
      const group: Array<Waiting<A, B, E>> = []
      const rest: Array<Waiting<A, B, E>> = []
      let size = 0
      for (const one of waiting) {
        const key = options.keyOf(one.item)
        const fits = group.length === 0 || (group.length < mostItems && size + options.sizeOf(one.item) <= mostSize)
        if (fits && !keys.has(key)) {
          size += options.sizeOf(one.item)
          group.push(one)
        } else rest.push(one)
        // What comes later of this key waits, too.
        keys.add(key)
      }
      waiting = rest
      return group
    }

    const runAll: Effect.Effect<void> = Effect.suspend(() => {
      const group = next()
      running = group
      if (group.length === 0) {
        isRunning = false
        return Effect.void
      }
      return Effect.exit(options.run(group.map(({ item }) => item))).pipe(
        Effect.flatMap((exit) => {
          for (const [i, { resume }] of group.entries()) {
            resume(Exit.flatMap(exit, (results) => results[i] ?? Exit.die("A group lacks a result")))
          }
          return runAll
        })
      )
    })

    // Also whose group was under way: its fiber has ended without a word.
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        for (const { resume } of [...running, ...waiting]) resume(Effect.interrupt)
      })
    )
    // Who is interrupted leaves its item in the group: it may be on its way.
    return (item) =>
      Effect.async((resume) => {
        waiting.push({ item, resume })
        if (isRunning) return
        isRunning = true
        // What is asked for in the same moment is in the first group, too.
        Runtime.runFork(runtime)(Effect.zipRight(Effect.yieldNow(), runAll), { scope })
      })
  })
