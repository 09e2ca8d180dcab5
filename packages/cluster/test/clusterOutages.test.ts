/** Processes that work on one batch together over a database and a Redis that crash, beside another cluster, and with another definition. */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { RateLimits } from "effect-runpod"
import { NodeEmulator } from "effect-runpod/Node"
import * as BatchCluster from "effect-runpod-cluster/BatchCluster"
import { check, longestPause, makeCluster, numbered, say, serve, submitted, usual } from "./support/clusters.js"
import { clientOf, newPrefix, ownPostgres, postgresUrl } from "./support/databases.js"
import { ownRedis } from "./support/redisServer.js"

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
