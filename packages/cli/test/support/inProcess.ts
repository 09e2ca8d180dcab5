import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { stripVTControlCharacters } from "node:util"
import { messageOf, codeOf } from "../../src/shell/errors.js"
import { State, Stopping } from "../../src/shell/stopping.js"

// The build writes it in.
Reflect.set(globalThis, "PACKAGE_VERSION", "0.0.0")
const { run } = await import("../../src/app.js")

/** What a command line ends with that is refused: here, without a process of its own. */
export const refused = (args: ReadonlyArray<string>) =>
  Console.consoleWith((current) => {
    const printed: Array<string> = []
    const print = (text: unknown) => Effect.sync(() => void printed.push(stripVTControlCharacters(String(text)).trim()))
    return Effect.flip(run(["node", "effect-runpod", ...args])).pipe(
      Effect.withConsole({ ...current, log: print, error: print }),
      Effect.map((error) => ({ code: codeOf(error), message: messageOf(error) ?? printed.join("\n") })),
      Effect.provide(Layer.merge(NodeContext.layer, Layer.succeed(Stopping, new State())))
    )
  })
