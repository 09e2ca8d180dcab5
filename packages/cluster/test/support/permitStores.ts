/** The stores of permits that the tests run over, and what holds of each lease that they gave. */
import * as SqlClient from "@effect/sql/SqlClient"
import { Redis as IoRedis } from "ioredis"
import { Context, Effect, Layer, type Scope } from "effect"
import { PermitStore, Redis, Sql } from "effect-runpod-cluster"
import { existsSync, readFileSync } from "node:fs"
import { request } from "./requests.js"
import { clientOf, databases, isPostgres, newPrefix, root } from "./databases.js"

/** Where a Redis is, which `scripts/redis.sh start` has started. */
export const redisUrl = (): string => {
  const file = `${root}.redis/url`
  if (existsSync(file)) return readFileSync(file, "utf8").trim()
  throw new Error("These tests need a Redis of their own: run `bash scripts/redis.sh start` first.")
}

/** A store that several clients share. */
export interface Shared {
  readonly open: Effect.Effect<PermitStore.Service, never, Scope.Scope>
  /** All that it keeps, as text. */
  readonly dump: Effect.Effect<string>
}

/** A client as a program would have one that brings its own. */
export const connected = (url: string): Effect.Effect<IoRedis, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new IoRedis(url, { lazyConnect: true, enableOfflineQueue: false })
      await client.connect()
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )

/** All keys of a Redis with their values. */
export const dumpOf = (client: IoRedis): Effect.Effect<string> =>
  Effect.promise(async () => {
    const keys = await client.keys("*")
    return (await Promise.all(keys.map(async (key) => `${key} ${await client.get(key)}`))).join("\n")
  })

const memory: Effect.Effect<Shared> = Effect.map(PermitStore.memory, (store) => ({
  open: Effect.succeed(store),
  dump: Effect.succeed("")
}))

const redis: Effect.Effect<Shared, never, Scope.Scope> = Effect.gen(function* () {
  const client = yield* connected(redisUrl())
  const open = Redis.connect({ url: redisUrl(), prefix: `{${newPrefix()}}:`, settle: 1 })
  // Until this one has settled nobody gets anything.
  yield* Effect.scoped(Effect.flatMap(open, (store) => Effect.orDie(store.lease(request({ demand: 0 })))))
  yield* Effect.sleep(20)
  return { open, dump: dumpOf(client) }
})

const sqlOver = (place: (typeof databases)[number]["place"]): Effect.Effect<Shared, never, Scope.Scope> =>
  Effect.gen(function* () {
    const at = yield* place
    const prefix = newPrefix()
    const open = Effect.orDie(
      Effect.flatMap(Layer.build(clientOf(at)), (client) => Effect.provide(Sql.permitStore({ prefix }), client))
    )
    const own = Context.get(yield* Layer.build(clientOf(at)), SqlClient.SqlClient)
    // So that two clients of the first test do not make the tables at once.
    yield* Effect.scoped(open)
    return {
      open,
      dump: Effect.orDie(Effect.map(own.unsafe(`SELECT * FROM "${prefix}permits"`), (rows) => JSON.stringify(rows)))
    }
  })

/** `npm test` has neither PostgreSQL nor Redis; `npm run test:services` has both. */
export const stores: ReadonlyArray<{
  readonly name: string
  readonly shared: Effect.Effect<Shared, never, Scope.Scope>
}> = [
  ...(isPostgres ? [{ name: "Redis", shared: redis }] : [{ name: "memory", shared: memory }]),
  ...databases.map(({ name, place }) => ({ name, shared: sqlOver(place) }))
]

/** A grant, and between which moments the store gave it. */
export interface Grant {
  readonly from: number
  readonly to: number
  readonly count: number
}

/** A store that notes what it grants. */
export const noting = (store: PermitStore.Service, grants: Array<Grant>): PermitStore.Service => ({
  lease: (request) =>
    Effect.suspend(() => {
      const from = performance.now()
      return Effect.tap(store.lease(request), ({ granted }) =>
        Effect.sync(() => {
          if (granted > 0) grants.push({ from, to: performance.now(), count: granted })
        })
      )
    })
})

/** The most starts that were given within a span for certain. */
export const mostWithin = (grants: ReadonlyArray<Grant>, span: number): number =>
  Math.max(
    0,
    ...grants.map(({ from }) =>
      grants.reduce((sum, grant) => (grant.from >= from && grant.to < from + span ? sum + grant.count : sum), 0)
    )
  )
