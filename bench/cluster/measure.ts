/** A batch that three processes of a cluster work on, over a PostgreSQL and a Redis of their own and an emulated RunPod in a process of its own. */
import { Endpoint } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import * as SqlClient from "@effect/sql/SqlClient"
import { PgClient } from "@effect/sql-pg"
import { Effect, Redacted, Schema } from "effect"
import { createServer } from "node:net"
import { once } from "node:events"
import * as Server from "../batch/server-client.js"
import * as Processes from "../processes.js"
import { service } from "../service.js"
import type { Used, WorkerOptions } from "./worker.js"

const processes = 3

const freePort = Effect.promise(async () => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === "object" && address !== null ? address.port : 0
})

export interface ClusterFigures {
  readonly name: string
  readonly items: number
  readonly counts: Readonly<Record<string, number>>
  readonly submitted: number
  /** From the start of the batch, its inputs stored, until a process knows that each has its outcome. */
  readonly seconds: number
  /** What storing the inputs took of that. */
  readonly storing: number
  /** What the documented limit allows at best; missing without limits. */
  readonly bound?: number
  readonly throttled: number
  readonly requests: number
  /** Statements of all processes, those that read the report, too; each commits by itself. */
  readonly queries: number
  /** Milliseconds an item, of all processes. */
  readonly cpu: number
  /** MiB of the largest process. */
  readonly rss: number
}

/** Each statement commits by itself. */
const queriesOf = (url: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    // What backends have counted is told after a while.
    yield* Effect.sleep("1500 millis")
    const [row] = yield* sql<{ readonly n: number }>`
      SELECT (xact_commit + xact_rollback)::float8 AS n FROM pg_stat_database WHERE datname = current_database()`
    return row?.n ?? 0
  }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })), Effect.orDie)

/** RunPod has been up for long when a process starts: the emulated one has answered for jobs of another endpoint, and its code is compiled. */
const useBefore = (url: string) =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make("before", {
      input: Schema.Struct({ n: Schema.Number }),
      output: Schema.Unknown
    })
    const all = Array.from({ length: 900 }, (_, n) => n)
    yield* Effect.forEach(all, (n) => endpoint.call({ n }), { concurrency: 50, discard: true })
  }).pipe(Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl: url })))

export interface Profile {
  readonly name: string
  readonly items: number
  readonly seconds: number
  readonly isLimited: boolean
  readonly chunkSize: number
  /** Whether all processes have worked on a batch of another endpoint before: their code is compiled. */
  readonly isWarm: boolean
}

const measure = ({ chunkSize, isLimited, isWarm, items, name, seconds: execution }: Profile) =>
  Effect.gen(function* () {
    const workers = { max: items, min: Math.min(items, 3_000) }
    const server = yield* Server.start({
      endpoints: {
        ep: { workers, execution: `${execution * 1000} millis` },
        warm: { workers, execution: "10 millis" },
        before: { workers, execution: "10 millis" }
      },
      ...(isLimited ? {} : { limits: "off" as const })
    })
    const postgres = yield* service("postgres")
    const redis = isLimited ? yield* service("redis") : undefined
    const children = yield* Effect.forEach(Array.from({ length: processes }), () =>
      Effect.gen(function* () {
        const options: WorkerOptions = { url: server.url, postgres, redis, port: yield* freePort, chunkSize }
        const child = yield* Effect.acquireRelease(
          Effect.sync(() => Processes.start(new URL("worker.ts", import.meta.url), [JSON.stringify(options)])),
          (child) => Effect.sync(() => void child.kill("SIGKILL"))
        )
        yield* Effect.promise(() => Processes.nextMessage<"ready">(child))
        return child
      })
    )
    yield* useBefore(server.url)
    // All have their shards.
    yield* Effect.sleep("5 seconds")
    const [first] = children
    if (first === undefined) return yield* Effect.dieMessage("no process")
    if (isWarm) {
      first.send("warm")
      yield* Effect.promise(() => Processes.nextMessage<"warmed">(first))
    }
    const before = yield* queriesOf(postgres)
    const earlier = yield* server.summary
    const startedAt = performance.now()
    first.send(items)
    yield* Effect.promise(() => Processes.nextMessage<"started">(first))
    const storing = (performance.now() - startedAt) / 1000
    yield* Effect.promise(() => Processes.nextMessage<"ended">(first))
    const seconds = (performance.now() - startedAt) / 1000
    const counts = yield* Effect.promise(() => Processes.nextMessage<Record<string, number>>(first))
    const queries = (yield* queriesOf(postgres)) - before
    const used = yield* Effect.forEach(children, (child) =>
      Effect.promise(() => {
        child.send("used")
        return Processes.nextMessage<Used>(child)
      })
    )
    const { rateLimited, submitted, total } = yield* server.summary
    const figures: ClusterFigures = {
      name,
      items,
      counts,
      submitted: submitted - earlier.submitted,
      seconds,
      storing,
      ...(isLimited ? { bound: Math.floor((items - 1) / 1_000) * 10 + execution } : {}),
      throttled: rateLimited - earlier.rateLimited,
      requests: total - earlier.total,
      queries,
      cpu: used.reduce((sum, { cpu }) => sum + cpu, 0) / items,
      rss: Math.max(...used.map(({ rss }) => rss)) / 2 ** 20
    }
    return figures
  }).pipe(Effect.scoped)

/** As many jobs as the documented limits allow, and as many as the processes can. */
export const profiles: ReadonlyArray<Profile> = [
  { name: "jobs of 2 s, limits shared", items: 3_000, seconds: 2, isLimited: true, chunkSize: 250, isWarm: true },
  {
    name: "jobs of 2 s, limits shared, processes just started",
    items: 3_000,
    seconds: 2,
    isLimited: true,
    chunkSize: 250,
    isWarm: false
  },
  { name: "jobs of 50 ms, no limits", items: 20_000, seconds: 0.05, isLimited: false, chunkSize: 250, isWarm: false }
]

export const measureCluster = (profile: Profile): Promise<ClusterFigures> => Effect.runPromise(measure(profile))
