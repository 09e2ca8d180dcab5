import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import process from "node:process"
import { run } from "./app.js"
import { codeOf, exitCodes, messageOf } from "./shell/errors.js"
import { plain } from "./shell/plain.js"
import { say } from "./shell/progress.js"
import { State, Stopping } from "./shell/stopping.js"

/** What is logged goes to stderr, since stdout is for data. */
const logger = Logger.replace(
  Logger.defaultLogger,
  Logger.make(({ cause, logLevel, message }) => {
    const texts = (Array.isArray(message) ? message : [message]).map(String)
    if (!Cause.isEmpty(cause)) texts.push(Cause.pretty(cause))
    say(`${logLevel.label.toLowerCase()}: ${texts.join(" ")}`)
  })
)

/** The console of `@effect/cli`: its help on stdout, its complaints on stderr, without colours where they are not wanted. */
const withPlainConsole = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Console.consoleWith((current) =>
    Effect.withConsole(effect, {
      ...current,
      log: (text: unknown) => Effect.sync(() => void process.stdout.write(`${plain(String(text), process.stdout)}\n`)),
      error: (text: unknown) => Effect.sync(() => say(plain(String(text), process.stderr).trimEnd()))
    })
  )

/** The status of an end that no signal has caused, and what is to be said of it. */
const endOf = (exit: Exit.Exit<void, unknown>): { readonly code: number; readonly message?: string | undefined } => {
  if (Exit.isSuccess(exit)) return { code: exitCodes.ok }
  const failure = Cause.failureOption(exit.cause)
  if (failure._tag === "None") return { code: exitCodes.failure, message: Cause.pretty(exit.cause) }
  return { code: codeOf(failure.value), message: messageOf(failure.value) }
}

/**
 * Runs a command line, and ends the process with its status. The first signal interrupts it and says what goes on at RunPod; a second
 * does not wait for that. A reader of stdout that goes away, as `head` does, is such a signal, too.
 */
export const main = (argv: ReadonlyArray<string>): void => {
  const stopping = new State()
  let signal: "SIGINT" | "SIGTERM" | "SIGPIPE" | undefined
  const fiber = Effect.runFork(
    run(argv).pipe(
      withPlainConsole,
      Effect.provide(Layer.mergeAll(NodeContext.layer, logger, Layer.succeed(Stopping, stopping)))
    )
  )
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
  process.stdout.on("error", () => stop("SIGPIPE"))
  process.stderr.on("error", () => undefined)
  fiber.addObserver((exit) => {
    if (signal !== undefined && Exit.isFailure(exit)) process.exit(exitCodes[signal])
    const { code, message } = endOf(exit)
    if (message !== undefined) say(`effect-runpod: ${message}`)
    // What was waited for goes on when the wait has failed or its time was over.
    if (code === exitCodes.failure || code === exitCodes.stopped) for (const line of stopping.lines) say(line)
    process.exit(code)
  })
}
