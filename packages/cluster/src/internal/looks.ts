/** What a batch does, asked for once for all of its chunks that this process drives. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { BatchJournalError } from "effect-runpod/BatchError"
import type * as BatchStore from "../BatchStore.js"

type Look = Effect.Effect<BatchStore.Status, BatchJournalError>

interface Shared {
  readonly look: Look
  users: number
}

const looks = new WeakMap<BatchStore.Service, Map<string, Shared>>()

const sharedOf = (store: BatchStore.Service): Map<string, Shared> => {
  const known = looks.get(store) ?? new Map<string, Shared>()
  looks.set(store, known)
  return known
}

/** Gives the status of a batch, which may be as old as `age`. */
export const lookAt = (
  store: BatchStore.Service,
  id: string,
  age: `${number} millis`
): Effect.Effect<Look, never, Scope.Scope> =>
  Effect.gen(function* () {
    // By a fiber of its own: a chunk that ends while it looks takes nothing from the others.
    const looking = yield* Effect.cachedWithTTL(Effect.forkDaemon(Effect.interruptible(store.status(id))), age)
    const fresh = Effect.flatMap(looking, Fiber.join)
    const batches = sharedOf(store)
    const shared = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const shared = batches.get(id) ?? { look: fresh, users: 0 }
        shared.users++
        batches.set(id, shared)
        return shared
      }),
      (shared) =>
        Effect.sync(() => {
          if (--shared.users === 0) batches.delete(id)
        })
    )
    return shared.look
  })
