/**
 * Prints the help of every command as JSON, for the build.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import process from "node:process"
import { paths, run } from "./app.js"
import { toStdout } from "./shell/output.js"
import { State, Stopping } from "./shell/stopping.js"

/** What a command line prints. */
const printed = (args: ReadonlyArray<string>) =>
  Console.consoleWith((current) => {
    let text = ""
    const log = (line: unknown) => Effect.sync(() => void (text += `${String(line)}\n`))
    return Effect.map(Effect.withConsole(run(["node", "effect-runpod", ...args]), { ...current, log }), () =>
      text.replace(/\n+$/, "\n")
    )
  })

const texts = Effect.gen(function* () {
  const helps = yield* Effect.forEach(paths, (path) =>
    Effect.map(printed([...path, "--help"]), (text) => [path.join(" "), text] as const)
  )
  return Object.fromEntries([...helps, ["--version", yield* printed(["--version"])]])
})

Effect.runPromise(
  texts.pipe(
    Effect.flatMap((texts) => toStdout(JSON.stringify(texts))),
    Effect.provide(NodeContext.layer),
    Effect.provideService(Stopping, new State())
  )
).catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`)
  process.exit(1)
})
