import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Effect, type Scope } from "effect"
import type { ServerOptions, Summary } from "./server.js"

export interface Server {
  readonly url: string
  readonly summary: Effect.Effect<Summary>
}

/** Starts an emulator in another process, until the scope closes. */
export const start = (options: ServerOptions): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        fork(fileURLToPath(new URL("server.ts", import.meta.url)), [JSON.stringify(options)], {
          execArgv: ["--import", "tsx"],
          env: { ...process.env, TSX_TSCONFIG_PATH: fileURLToPath(new URL("../tsconfig.json", import.meta.url)) },
          serialization: "advanced"
        })
      ),
      (child) => Effect.sync(() => void child.kill())
    )
    const answer = <A>() =>
      Effect.async<A>((resume) => {
        child.once("message", (message) => resume(Effect.succeed(message as A)))
      })
    const url = yield* answer<string>()
    return {
      url,
      summary: Effect.suspend(() => {
        child.send("summary")
        return answer<Summary>()
      })
    }
  })
