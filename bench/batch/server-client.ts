import { Effect, type Scope } from "effect"
import * as Processes from "../processes.js"
import type { ServerOptions, Summary } from "./server.js"

export interface Server {
  readonly url: string
  readonly summary: Effect.Effect<Summary>
}

/** Starts an emulator in another process, until the scope closes. */
export const start = (options: ServerOptions): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => Processes.start(new URL("server.ts", import.meta.url), [JSON.stringify(options)])),
      (child) => Effect.sync(() => void child.kill())
    )
    const url = yield* Effect.promise(() => Processes.nextMessage<string>(child))
    return {
      url,
      summary: Effect.promise(() => {
        child.send("summary")
        return Processes.nextMessage<Summary>(child)
      })
    }
  })
