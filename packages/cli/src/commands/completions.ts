import * as Effect from "effect/Effect"
import { Output } from "../shell/output.js"
import type { Spec } from "../spec/spec.js"
import { choiceArgument, shared } from "./options.js"
import { define, lazily, verb } from "./verb.js"

const shells = ["bash", "fish", "zsh"] as const

/** The command that completes the others: `rootOf` is asked when it runs. */
export const completions = (rootOf: () => Spec) =>
  verb(
    "Print a script that completes commands in a shell",
    define(
      "completions",
      { shell: choiceArgument("shell", shells, "The shell"), ...shared },
      ({ shell }): Effect.Effect<void, never, Output> =>
        lazily(
          () => import("../completions/scripts.js"),
          ({ scriptOf }) =>
            Effect.gen(function* () {
              const script = scriptOf(shell, rootOf()).trimEnd()
              const output = yield* Output
              yield* output.one({ shell, script }, script)
            })
        )
    )
  )
