import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { argumentList, count, duration, flag, optional, port, shared, text } from "./options.js"
import { group, lazily, verb } from "./verb.js"

const start = verb(
  "Serve an emulated RunPod on this machine, until a signal",
  Command.make(
    "start",
    {
      endpoints: argumentList("endpoint", "The ids of its endpoints, beside those of --config"),
      config: optional(text("config", "json", "Options of the emulator: JSON, @file, or - for stdin")),
      faults: optional(text("faults", "json", "An array of faults: JSON, @file, or - for stdin")),
      port,
      host: Options.text("host").pipe(Options.withDefault("127.0.0.1"), Options.withDescription("On which address")),
      workers: optional(count("workers", "How many workers each endpoint has; 3 unless it is given")),
      execution: optional(duration("execution", "How long a job takes; no time unless it is given")),
      coldStart: optional(duration("cold-start", "How long a worker takes to start; no time unless it is given")),
      unlimited: flag("unlimited", "Without RunPod's rate limits"),
      dashboard: flag("dashboard", "Serve a page, too, that shows its endpoints while they run"),
      flight: optional(text("flight", "path", "Replay the last recording of this file")),
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/emulator.js"),
        ({ start }) => start(args)
      )
  )
)

export const emulator = group("emulator", "A RunPod on this machine, for programs in any language").pipe(
  Command.withSubcommands([start])
)
