import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import process from "node:process"
import { program, tellEnd } from "./program.js"
import { say } from "./shell/progress.js"
import { State } from "./shell/stopping.js"
import { exitCodes } from "./spec/statuses.js"

/**
 * Runs a command line, and ends the process with its status. The first signal interrupts it and says what goes on at RunPod; a second
 * does not wait for that. A reader of stdout that goes away, as `head` does, is such a signal, too.
 */
export const main = (argv: ReadonlyArray<string>): void => {
  const stopping = new State()
  let signal: "SIGINT" | "SIGTERM" | "SIGPIPE" | undefined
  let unwritable: string | undefined
  const fiber = Effect.runFork(program(argv, stopping))
  const stop = (by: "SIGINT" | "SIGTERM" | "SIGPIPE") => {
    if (signal !== undefined) {
      if (by !== "SIGPIPE") process.exit(exitCodes[by])
      return
    }
    signal = by
    for (const line of stopping.lines) say(line)
    Effect.runFork(Fiber.interrupt(fiber))
  }
  process.on("SIGINT", () => stop("SIGINT"))
  process.on("SIGTERM", () => stop("SIGTERM"))
  process.stdout.on("error", (error: unknown) => {
    const code = Predicate.hasProperty(error, "code") ? error.code : undefined
    if (code !== "EPIPE") unwritable ??= code === "ENOSPC" ? "the disk is full" : `the system says ${String(code)}`
    stop("SIGPIPE")
  })
  process.stderr.on("error", () => undefined)
  fiber.addObserver((exit) => {
    if (unwritable !== undefined) {
      say(`effect-runpod: What the command prints cannot be written: ${unwritable}.`)
      process.exit(exitCodes.failure)
    }
    if (signal !== undefined && Exit.isFailure(exit)) process.exit(exitCodes[signal])
    process.exit(tellEnd(exit, argv, stopping))
  })
}
