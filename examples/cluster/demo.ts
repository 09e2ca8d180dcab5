/**
 * Three processes that work on one batch over PostgreSQL, one of which is killed (`kill -9`) on the way: that of DATABASE_URL, or one of its own where its
 * programs are installed. Without it, or with `--sqlite`, one process over a file, killed and
 * started again. `npm run demo:cluster`.
 */
import { NodeContext } from "@effect/platform-node"
import { FileSystem } from "@effect/platform"
import { LibsqlClient } from "@effect/sql-libsql"
import { PgClient } from "@effect/sql-pg"
import { NodeEmulator, NodeRunPod } from "effect-runpod/Node"
import { Sql } from "effect-runpod-cluster"
import { Config, Console, Effect, Layer, Option, Redacted } from "effect"
import { execFile, spawn } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { createServer } from "node:net"
import { fileURLToPath } from "node:url"
import { bicycles, endpointId } from "./bicycles.js"

const root = fileURLToPath(new URL("../../", import.meta.url))

const isInstalled = (folder: string) =>
  existsSync(folder) && readdirSync(folder).some((version) => existsSync(`${folder}/${version}/bin/initdb`))

const postgresScript = (command: string, folder: string) =>
  Effect.async<void, Error>((resume) => {
    execFile("bash", ["scripts/postgres.sh", command, folder], { cwd: root }, (error) =>
      resume(error === null ? Effect.void : Effect.fail(error))
    )
  })

/** Where the processes meet, if it is a PostgreSQL. One of its own is gone with the scope. */
const postgres = Effect.gen(function* () {
  if (process.argv.includes("--sqlite")) return undefined
  const given = yield* Config.option(Config.redacted("DATABASE_URL"))
  if (Option.isSome(given)) return Redacted.value(given.value)
  if (!isInstalled("/usr/lib/postgresql")) return undefined
  const folder = `.postgres-demo-${process.pid}`
  yield* Effect.acquireRelease(postgresScript("start", folder), () => Effect.orDie(postgresScript("stop", folder)))
  return readFileSync(`${root}${folder}/url`, "utf8").trim()
})

const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** A process that works, until the scope closes. */
const runner = (variables: Readonly<Record<string, string>>) =>
  Effect.gen(function* () {
    const RUNNER_PORT = String(yield* freePort)
    return yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [...process.execArgv, fileURLToPath(new URL("runner.ts", import.meta.url))], {
          env: { ...process.env, ...variables, RUNNER_PORT },
          stdio: ["ignore", "ignore", "inherit"]
        })
      ),
      (child) =>
        Effect.async<void>((resume) => {
          if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
          child.once("exit", () => resume(Effect.void))
          child.kill("SIGKILL")
        })
    )
  })

const barOf = (done: number, total: number) =>
  `[${"#".repeat(Math.round((30 * done) / Math.max(1, total))).padEnd(30, ".")}]`

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const server = yield* NodeEmulator.serve({
    apiKey: "demo",
    endpoints: { [endpointId]: { workers: 60, execution: { min: "2 seconds", max: "3 seconds" } } }
  })
  const url = yield* postgres
  const file = `${yield* fs.makeTempDirectoryScoped()}/batches.db`
  const batch = `demo-${crypto.randomUUID()}`
  const variables = {
    ...(url === undefined ? { BATCHES_FILE: file } : { DATABASE_URL: url }),
    BATCH: batch,
    GRACE: "2 seconds",
    RUNPOD_BASE_URL: server.url,
    RUNPOD_API_KEY: "demo"
  }
  const count = url === undefined ? 1 : 3
  yield* Console.log(url === undefined ? "One process over a file (SQLite)." : "Three processes over PostgreSQL.")
  const [first] = yield* Effect.replicateEffect(runner(variables), count)

  // This process works on nothing: it reads.
  const client =
    url === undefined ? LibsqlClient.layer({ url: `file:${file}` }) : PgClient.layer({ url: Redacted.make(url) })
  yield* Effect.gen(function* () {
    let isKilled = false
    const progress = bicycles.progress(batch)
    for (;;) {
      yield* Effect.sleep("1 second")
      // Until a process has created it there is none.
      const found = yield* Effect.option(progress)
      if (Option.isNone(found)) continue
      const { done, chunks, intended, settled, submitted, total, waiting } = found.value
      yield* Console.log(
        `${barOf(settled, total)} ${settled} of ${total} settled, ${submitted} at RunPod, ${intended} in between, ${waiting} waiting`
      )
      if (!isKilled && settled * 4 >= total && total > 0) {
        isKilled = true
        first?.kill("SIGKILL")
        yield* Console.log(`process ${first?.pid} is killed (kill -9)`)
        if (url === undefined) yield* runner(variables)
      }
      if (chunks > 0 && done === chunks) break
    }
    const { completed, counts, executionTime, failed, open } = yield* bicycles.report(batch)
    yield* Console.log(`${completed} completed, ${failed} without output, ${open} open`, counts)
    yield* Console.log(`on a worker: ${Math.round(executionTime.p50)} ms each (median)`)
  }).pipe(Effect.provide(Layer.provide(Sql.layerBatchStore(), client)))

  const jobs = yield* server.jobs(endpointId)
  const seeds = new Set(jobs.map(({ input }) => input["seed"]))
  yield* Console.log(`${jobs.length} jobs were started, for ${seeds.size} inputs`)
  if (seeds.size < jobs.length) return yield* Effect.fail("An input has two jobs.")
}).pipe(Effect.scoped)

NodeRunPod.runMain(Effect.provide(program, NodeContext.layer))
