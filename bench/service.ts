/** A PostgreSQL or a Redis of the benchmark's own. */
import { Effect, type Scope } from "effect"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../", import.meta.url))

/** Its URL. It is installed where it is missing (Debian, as root), and removed with the scope. */
export const service = (name: "postgres" | "redis"): Effect.Effect<string, never, Scope.Scope> => {
  const folder = `.${name}-bench`
  const run = (command: string) =>
    execFileSync("bash", [`scripts/${name}.sh`, command, folder], { cwd: root, stdio: ["ignore", "ignore", "inherit"] })
  return Effect.acquireRelease(
    Effect.sync(() => {
      run("start")
      return readFileSync(`${root}${folder}/url`, "utf8").trim()
    }),
    () => Effect.sync(() => run("stop"))
  )
}
