/** Processes that work on one batch together over a database and a Redis that crash, beside another cluster, and with another definition. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Redacted, Scope, Stream } from "effect"
import { RateLimits } from "effect-runpod"
import { NodeEmulator } from "effect-runpod/Node"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { check, longestPause, makeCluster, numbered, say, serve, submitted, usual } from "./support/clusters.js"
import { clientOf, newPrefix, ownPostgres, postgresUrl } from "./support/databases.js"
import { until } from "./support/processes.js"
import { beside } from "./support/queries.js"
import { ownRedis } from "./support/redisServer.js"

/** Goes on when it is cancelled, for as long. */
const stubborn = (seconds: number, name: string) =>
  `DO $$ BEGIN /* ${name} */ PERFORM pg_sleep(${seconds}); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(${seconds}); END $$`

const count = 20
const numbers = Array.from({ length: count }, (_, n) => n)

describe("a connection of a cluster", () => {
  const test = (
    title: string,
    body: (name: string) => Effect.Effect<void, unknown, SqlClient.SqlClient | Scope.Scope>
  ) =>
    it.scopedLive(title, () =>
      Effect.suspend(() => {
        const prefix = newPrefix()
        const layer = BatchCluster.layerPostgres({ url: Redacted.make(postgresUrl()), prefix, maxConnections: 4 })
        const checked = Effect.suspend(() => {
          const own = beside.filter(({ others, text }) => `${text} ${others.join(" ")}`.includes(prefix))
          // When the statement before was cancelled, its end is waited for so.
          assert.deepStrictEqual(
            own.filter(({ others, text }) => text !== "SELECT 1" || others.length > 1),
            []
          )
          return Effect.void
        })
        return Effect.provide(Effect.zipLeft(body(prefix), checked), layer)
      })
    )
  const valueOf = (n: number, name: string) => `SELECT ${n} AS n, '${name}' AS name, pg_sleep(0.005)`
  /** How many connections can be had at once. */
  const free = Effect.scoped(
    Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.map(
        Effect.all(
          numbers.map(() => Effect.timeoutOption(sql.reserve, "300 millis")),
          { concurrency: 5 }
        ),
        (all) => all.filter(({ _tag }) => _tag === "Some").length
      )
    )
  )

  test("answers one fiber after the other, each what it asked for", (name) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const connection = yield* sql.reserve
      const reserved = yield* Effect.forEach(numbers, (n) => connection.executeValues(valueOf(n, name), []), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(
        reserved.map(([row]) => row?.[0]),
        numbers
      )
      const ask = Effect.forEach(numbers, (n) => sql.unsafe<{ n: number }>(valueOf(n, name)), {
        concurrency: "unbounded"
      })
      const savepoint = sql.withTransaction(Effect.zipRight(ask, Effect.fail("a savepoint")))
      const [one, none, other] = yield* sql.withTransaction(
        Effect.all([ask, Effect.flip(savepoint), ask], { concurrency: 2 })
      )
      assert.strictEqual(none, "a savepoint")
      for (const rows of [one, other]) {
        assert.deepStrictEqual(
          rows.map(([row]) => row?.n),
          numbers
        )
      }
      const streamed = sql.unsafe(`SELECT * FROM generate_series(1, 1000) AS n, (SELECT '${name}') AS name`).stream
      const rows = yield* Effect.forEach([5, 200, 2_000], (most) => Stream.runCollect(Stream.take(streamed, most)), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(
        rows.map(({ length }) => length),
        [5, 200, 1_000]
      )
    }))

  test("is there again after statements that were interrupted, waited for or not", (name) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const connection = yield* sql.reserve
      const since = performance.now()
      const asked = yield* Effect.forEach(numbers, () =>
        Effect.fork(connection.executeRaw(`SELECT pg_sleep(60), '${name}'`, []))
      )
      yield* Effect.sleep("100 millis")
      yield* Fiber.interruptAll(asked)
      assert.deepStrictEqual(yield* connection.executeValues(valueOf(1, name), []), [[1, name, ""]])
      const cancelled = yield* Effect.fork(sql.withTransaction(sql.unsafe(`SELECT pg_sleep(60), '${name}'`)))
      yield* Effect.sleep("100 millis")
      yield* Fiber.interrupt(cancelled)
      const single = yield* Effect.fork(sql.unsafe(`SELECT pg_sleep(60), '${name}'`))
      yield* Effect.sleep("100 millis")
      yield* Fiber.interrupt(single)
      assert.deepStrictEqual(yield* sql.unsafe(`SELECT 2 AS n, '${name}' AS name`), [{ n: 2, name }])
      assert.isBelow(performance.now() - since, 5_000)
    }))

  test("that goes on with a cancelled statement is nobody's until that has ended", (name) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      for (const seconds of [0.2, 1.3, 1.3]) {
        const scope = yield* Scope.make()
        const connection = yield* Scope.extend(sql.reserve, scope)
        const slow = yield* Effect.fork(connection.executeRaw(stubborn(seconds, name), []))
        yield* Effect.sleep("50 millis")
        yield* Fiber.interrupt(slow)
        const late = seconds > 1 ? yield* Effect.fork(connection.executeRaw(valueOf(1, name), [])) : undefined
        yield* Effect.sleep("50 millis")
        // Whoever gives it back does not wait.
        yield* Effect.timeoutFail(Scope.close(scope, Exit.void), { duration: "200 millis", onTimeout: () => "late" })
        if (late !== undefined) assert.isTrue(Exit.isFailure(yield* Fiber.await(late)))
        assert.deepStrictEqual(yield* sql.unsafe(`SELECT 2 AS n, '${name}' AS name`), [{ n: 2, name }])
      }
      for (const seconds of [0.2, 1.3, 1.3]) {
        const slow = yield* Effect.fork(sql.unsafe(stubborn(seconds, name)))
        yield* Effect.sleep("50 millis")
        yield* Fiber.interrupt(slow)
        assert.deepStrictEqual(yield* sql.unsafe(`SELECT 3 AS n, '${name}' AS name`), [{ n: 3, name }])
      }
      // The cluster has one.
      yield* until(Effect.map(free, (n) => n === 3))
    }))

  test("that nobody waits for any more is given back", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const have = yield* Scope.make()
      yield* Scope.extend(Effect.replicateEffect(sql.reserve, 3), have)
      const waiting = yield* Effect.forEach(numbers, () => Effect.fork(Effect.scoped(sql.reserve)))
      yield* Effect.sleep("50 millis")
      yield* Fiber.interruptAll(waiting)
      yield* Scope.close(have, Exit.void)
      assert.strictEqual(yield* free, 3)
    }))
})

describe("a cluster of processes", () => {
  it.scopedLive("that all begin in one moment on an empty database creates its tables once", () =>
    Effect.gen(function* () {
      const url = Redacted.make(postgresUrl())
      for (let round = 0; round < 4; round++) {
        const layer = BatchCluster.layerPostgres({ url, prefix: newPrefix(), maxConnections: 2 })
        yield* Effect.forEach(Array.from({ length: 6 }), () => Layer.build(Layer.fresh(layer)), {
          concurrency: "unbounded"
        })
      }
    })
  )

  it.scopedLive(
    "whose database crashes twice loses nothing, has nothing in doubt, and drives each chunk to its end",
    () =>
      Effect.gen(function* () {
        const count = 800
        const { crash, place } = yield* ownPostgres("cluster")
        const server = yield* serve([], "database")
        const cluster = yield* makeCluster(server, { ...usual, pg: place.pg })
        yield* cluster.threeRunners()
        yield* cluster.start(numbered(count))
        for (const submits of [200, 500]) {
          yield* submitted(server, submits)
          yield* crash
        }
        const { chunks, done } = yield* cluster.end
        assert.strictEqual(done, chunks)
        assert.strictEqual(yield* check(server, cluster, count), 0)
        const failed = yield* Effect.flatMap(SqlClient.SqlClient, (sql) =>
          sql.unsafe(
            `SELECT id FROM "${cluster.prefix}cluster_replies" WHERE payload LIKE '%"Failure"%' OR payload LIKE '%"Die"%'`
          )
        ).pipe(Effect.provide(clientOf(place)))
        assert.deepStrictEqual(failed, [])
        yield* say("database crashed twice", { pause: longestPause(cluster) / 1_000 })
      }),
    240_000
  )

  it.scopedLive(
    "whose Redis is emptied, and killed and started again, works on, and keeps the limit all the time",
    () =>
      Effect.gen(function* () {
        const count = 800
        const limit = 100
        const redis = yield* ownRedis
        const server = yield* NodeEmulator.serve({
          endpoints: { ep: { workers: 400, execution: { min: "500 millis", max: "2 seconds" } } },
          limits: RateLimits.make({ run: { limit, window: "2 seconds" } }),
          seed: "redis"
        })
        const cluster = yield* makeCluster(server, { ...usual, limit, shared: { redis: redis.url }, pg: postgresUrl() })
        yield* cluster.threeRunners()
        yield* cluster.start(numbered(count))
        yield* submitted(server, 150)
        yield* redis.command("FLUSHALL")
        yield* submitted(server, 400)
        yield* redis.kill
        yield* submitted(server, 600)
        yield* redis.start
        yield* cluster.end
        assert.strictEqual(yield* check(server, cluster, count), 0)
        const { rateLimited } = yield* server.counts
        yield* say("Redis emptied, killed and started", { pause: longestPause(cluster) / 1_000, refused: rateLimited })
        // Where each keeps the limit alone, more than half as many are refused as there are jobs.
        assert.isAtMost(rateLimited, count / 10)
      }),
    240_000
  )
  it.scopedLive(
    "in one database with another works at the same pace as that one",
    () =>
      Effect.gen(function* () {
        const count = 300
        const pg = postgresUrl()
        const runs = yield* Effect.forEach(
          ["one", "other"],
          (seed) =>
            Effect.gen(function* () {
              const server = yield* serve([], seed)
              const cluster = yield* makeCluster(server, { ...usual, shared: "sql", pg })
              yield* Effect.all([cluster.runner(), cluster.runner()], { concurrency: 2 })
              yield* cluster.start(numbered(count))
              const startedAt = performance.now()
              yield* cluster.end
              assert.strictEqual(yield* check(server, cluster, count), 0)
              return (performance.now() - startedAt) / 1_000
            }),
          { concurrency: 2 }
        )
        const [one = 0, other = 0] = runs
        yield* say("two clusters", { one, other })
        assert.isBelow(Math.max(one, other), 3 * Math.min(one, other))
      }),
    240_000
  )

  it.scopedLive(
    "of which one has an older definition leaves what that one cannot read to the others, without another outcome",
    () =>
      Effect.gen(function* () {
        const count = 240
        const server = yield* serve([], "older")
        const cluster = yield* makeCluster(server, { ...usual, pg: postgresUrl() })
        const old = yield* cluster.runner({ isOld: true, chunkSize: 30 })
        // Each third input has a field that the older one would drop.
        const inputs = numbered(count).map(({ n }) => (n % 3 === 0 ? { n, since: n } : { n }))
        yield* cluster.start(inputs)
        yield* submitted(server, (2 * count) / 3)
        const waits = "wait for a process whose definition is newer"
        yield* Effect.repeat(Effect.sleep(20), { until: () => old.output().includes(waits) })
        const newer = yield* cluster.runner({ chunkSize: 50 })
        old.child.kill("SIGTERM")
        yield* old.ended
        const endedAt = performance.now()
        yield* cluster.end
        yield* say("older definition", { end: (performance.now() - endedAt) / 1_000 })
        assert.strictEqual(yield* check(server, cluster, count), 0)
        const jobs = yield* server.jobs("ep")
        assert.isTrue(jobs.every(({ input }) => (Number(input["n"]) % 3 === 0) === "since" in input))
        assert.notInclude(newer.output(), waits)
      }),
    240_000
  )
})
