/** The databases that the tests run over: each gets tables of its own. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import type * as SqlClient from "@effect/sql/SqlClient"
import { Effect, type Scope } from "effect"
import { execFile } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { Place } from "./clients.js"
import "./queries.js"

export { clientOf, type Place } from "./clients.js"

export const root = fileURLToPath(new URL("../../../../", import.meta.url))

/** Where a PostgreSQL is, which `scripts/postgres.sh start` has started in this folder of the root. */
export const postgresUrl = (folder = ".postgres"): string => {
  const file = `${root}${folder}/url`
  if (existsSync(file)) return readFileSync(file, "utf8").trim()
  throw new Error("These tests need a PostgreSQL of their own: run `bash scripts/postgres.sh start` first.")
}

/** A PostgreSQL of a test's own, which may be crashed. */
export const ownPostgres = (
  name: string
): Effect.Effect<
  { readonly place: { readonly pg: string }; readonly crash: Effect.Effect<void> },
  never,
  Scope.Scope
> => {
  const folder = `.postgres-${process.pid}-${name}`
  const postgres = (command: string) =>
    Effect.async<void>((resume) => {
      execFile("bash", ["scripts/postgres.sh", command, folder], { cwd: root }, (error) =>
        resume(error === null ? Effect.void : Effect.die(error))
      )
    })
  return Effect.map(
    Effect.acquireRelease(postgres("start"), () => postgres("stop")),
    () => ({ place: { pg: postgresUrl(folder) }, crash: postgres("crash") })
  )
}

let prefixes = 0

/** Names tables that no other test uses. */
export const newPrefix = (): string => `t${process.pid}_${++prefixes}_`

/** Whether there is a PostgreSQL: `npm test` has none, `npm run test:services` has. */
export const isPostgres = process.env["TEST_DATABASE"] === "PostgreSQL"

/** A new file of SQLite. */
export const sqlite: Effect.Effect<{ readonly sqlite: string }, never, Scope.Scope> = Effect.flatMap(FileSystem, (fs) =>
  Effect.map(fs.makeTempDirectoryScoped(), (folder) => ({ sqlite: `${folder}/batches.db` }))
).pipe(Effect.orDie, Effect.provide(NodeFileSystem.layer))

/** What kills processes and databases runs over all, with the services. */
export const everyDatabase: ReadonlyArray<{
  readonly name: string
  readonly place: Effect.Effect<Place, never, Scope.Scope>
}> = [
  { name: "PostgreSQL", place: Effect.sync(() => ({ pg: postgresUrl() })) },
  { name: "SQLite", place: sqlite }
]

/** The database of this run. */
export const databases = everyDatabase.filter(({ name }) => (name === "PostgreSQL") === isPostgres)

/** A client that counts its statements. */
export const counted = (client: SqlClient.SqlClient) => {
  const state = { statements: 0 }
  const counting = new Proxy(client, {
    get: (target, name, receiver) => {
      if (name === "unsafe") state.statements++
      return Reflect.get(target, name, receiver) as unknown
    }
  })
  return { client: counting, state }
}
