import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Effect from "effect/Effect"
import { batch } from "./commands/batch.js"
import { completions } from "./commands/completions.js"
import { dashboard } from "./commands/dashboard.js"
import { emulator } from "./commands/emulator.js"
import { flight } from "./commands/flight.js"
import { cancel, doctor, health, jobs, purge, retry, run as runJob, status, stream, watch } from "./commands/jobs.js"
import { groupSpec } from "./commands/verb.js"
import { webhooks } from "./commands/webhooks.js"
import { Unsuccessful, UsageError } from "./shell/errors.js"
import { version } from "./shell/version.js"
import { problemOf } from "./spec/commandLine.js"
import type { Spec } from "./spec/spec.js"
import { program } from "./spec/words.js"
import { exitCodes } from "./spec/statuses.js"

const commands = [
  runJob,
  status,
  cancel,
  watch,
  stream,
  health,
  retry,
  purge,
  batch,
  jobs,
  dashboard,
  emulator,
  webhooks,
  flight,
  doctor,
  completions(() => root)
] as const

/** What the program takes, as data. */
export const root: Spec = groupSpec([], "RunPod serverless from the shell", commands)

const app = Command.make(program).pipe(Command.withSubcommands(commands))

/** Runs a command line. Of what it takes for a wrong value, `@effect/cli` has printed what is wrong, on stderr. */
export const run = (argv: ReadonlyArray<string>) =>
  Effect.suspend(() => {
    const problem = problemOf(root, argv.slice(2))
    if (problem !== undefined) return new UsageError({ message: problem })
    return Command.run(app, { name: program, version, executable: program })(argv).pipe(
      Effect.catchIf(ValidationError.isValidationError, () => new Unsuccessful({ code: exitCodes.usage, message: "" })),
      Effect.provide(CliConfig.layer({ showBuiltIns: false }))
    )
  })
