import * as Args from "@effect/cli/Args"
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import { doctor, cancel, health, jobs, purge, retry, run as runJob, status, stream, watch } from "./commands/jobs.js"
import { batch } from "./commands/batch.js"
import { dashboard } from "./commands/dashboard.js"
import { emulator } from "./commands/emulator.js"
import { flight } from "./commands/flight.js"
import { shared } from "./commands/options.js"
import { webhooks } from "./commands/webhooks.js"
import { verb } from "./commands/verb.js"
import { exitCodes, Unsuccessful } from "./shell/errors.js"
import { Output } from "./shell/output.js"
import { version } from "./shell/version.js"

const name = "effect-runpod"

const shells = { bash: Command.getBashCompletions, fish: Command.getFishCompletions, zsh: Command.getZshCompletions }

const completions = verb(
  "Print a script that completes commands in a shell",
  Command.make(
    "completions",
    {
      shell: Args.choice<keyof typeof shells>(
        [
          ["bash", "bash"],
          ["fish", "fish"],
          ["zsh", "zsh"]
        ],
        { name: "shell" }
      ),
      ...shared
    },
    ({ shell }): Effect.Effect<void, never, Output> =>
      Effect.gen(function* () {
        const script = (yield* shells[shell](app, name)).join("\n")
        const output = yield* Output
        yield* output.one({ shell, script }, script)
      })
  )
)

const app = Command.make(name).pipe(
  Command.withDescription("RunPod serverless from the shell"),
  Command.withSubcommands([
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
    completions
  ])
)

/** Runs a command line. `@effect/cli` has printed what is wrong with one, on stderr. */
export const run = (argv: ReadonlyArray<string>) =>
  Command.run(app, { name, version, executable: name })(argv).pipe(
    Effect.catchIf(ValidationError.isValidationError, () => new Unsuccessful({ code: exitCodes.usage, message: "" })),
    Effect.provide(CliConfig.layer({ showBuiltIns: false }))
  )

const namesIn = <Name extends string, R, E, A>(group: Command.Command<Name, R, E, A>): ReadonlyArray<string> =>
  Array.from(HashMap.keys(Command.getSubcommands(group)))

/** The commands that have commands below them. */
const groups = {
  batch: namesIn(batch),
  jobs: namesIn(jobs),
  emulator: namesIn(emulator),
  webhooks: namesIn(webhooks),
  flight: namesIn(flight)
}

/** All commands, as the words that name them; the program itself is none. */
export const paths: ReadonlyArray<ReadonlyArray<string>> = [
  [],
  ...namesIn(app).map((name) => [name]),
  ...Object.entries(groups).flatMap(([group, names]) => names.map((name) => [group, name]))
]
