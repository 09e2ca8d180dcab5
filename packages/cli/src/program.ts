/** A command line with all that it needs, and how its end is told. */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { stripVTControlCharacters } from "node:util"
import { run } from "./app.js"
import { brief, codeOf, excerptOf, messageOf } from "./shell/errors.js"
import { say } from "./shell/progress.js"
import { type State, Stopping } from "./shell/stopping.js"
import { version } from "./shell/version.js"
import { exitCodes } from "./spec/statuses.js"

/** What is logged goes to stderr, since stdout is for data. */
const logger = Logger.replace(
  Logger.defaultLogger,
  Logger.make(({ annotations, cause, logLevel, message }) => {
    const texts = (Array.isArray(message) ? message : [message]).map(String)
    for (const [name, value] of annotations) texts.push(`${name}=${String(value)}`)
    if (!Cause.isEmpty(cause)) texts.push(Cause.pretty(cause))
    say(`${logLevel.label.toLowerCase()}: ${texts.join(" ")}`)
  })
)

/** The console of `@effect/cli`: what it says of a wrong value is for stderr, and without its colours. */
const withPlainConsole = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Console.consoleWith((current) => {
    const print = (text: unknown) =>
      Effect.sync(() => say(`effect-runpod: ${brief(stripVTControlCharacters(String(text)))}`))
    return Effect.withConsole(effect, { ...current, log: print, error: print })
  })

/** Whether traces are wanted. */
const isDebugging = (argv: ReadonlyArray<string>): boolean => {
  const level = /(?:^|\0)--log-level[=\0](debug|trace|all)(?:\0|$)/i
  return level.test(argv.join("\0"))
}

const issues = "https://github.com/effect-runpod/effect-runpod/issues"

/** What is said of a mistake of ours. */
const defectText = (cause: Cause.Cause<unknown>, argv: ReadonlyArray<string>): string => {
  const [defect] = Cause.prettyErrors(cause)
  const what = excerptOf(defect?.message ?? "it was interrupted from within", 200)
  const says = `This is a defect of effect-runpod-cli ${version}, and not of your command: ${what}.`
  if (isDebugging(argv)) return `${says}\nPlease report it at ${issues}, with this trace:\n${Cause.pretty(cause)}`
  return `${says}\nPlease report it at ${issues}, with what --log-level debug prints.`
}

/** The status of an end that no signal has caused, and what is to be said of it. */
const endOf = (
  exit: Exit.Exit<void, unknown>,
  argv: ReadonlyArray<string>
): { readonly code: number; readonly message?: string | undefined } => {
  if (Exit.isSuccess(exit)) return { code: exitCodes.ok }
  const failure = Cause.failureOption(exit.cause)
  if (failure._tag === "None") return { code: exitCodes.failure, message: defectText(exit.cause, argv) }
  return { code: codeOf(failure.value), message: messageOf(failure.value) }
}

/** Runs a command line. */
export const program = (argv: ReadonlyArray<string>, stopping: State): Effect.Effect<void, unknown> =>
  run(argv).pipe(
    withPlainConsole,
    Effect.provide(Layer.mergeAll(NodeContext.layer, logger, Layer.succeed(Stopping, stopping)))
  )

/** Says how a command line has ended, and gives its status. */
export const tellEnd = (exit: Exit.Exit<void, unknown>, argv: ReadonlyArray<string>, stopping: State): number => {
  const { code, message } = endOf(exit, argv)
  if (message !== undefined) say(`effect-runpod: ${message}`)
  // What was waited for goes on when the wait has failed or its time was over.
  if (code === exitCodes.failure || code === exitCodes.stopped) for (const line of stopping.lines) say(line)
  return code
}
