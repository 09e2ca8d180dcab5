import * as Command from "@effect/cli/Command"
import {
  argument,
  argumentList,
  count,
  duration,
  file,
  flag,
  json,
  optional,
  port,
  shared,
  text,
  withDefault
} from "./options.js"
import { define, group, lazily, verb } from "./verb.js"

const start = verb(
  "Serve an emulated RunPod on this machine, until a signal",
  define(
    "start",
    {
      endpoints: argumentList(argument("endpoint", "The ids of its endpoints, beside those of --config")),
      config: optional(json("config", "Options of the emulator: JSON, @file, or - for stdin")),
      faults: optional(json("faults", "An array of faults: JSON, @file, or - for stdin")),
      port,
      host: withDefault(text("host", "address", "On which address"), "127.0.0.1"),
      workers: optional(count("workers", "How many workers each endpoint has; 3 unless it is given")),
      execution: optional(duration("execution", "How long a job takes; no time unless it is given")),
      coldStart: optional(duration("cold-start", "How long a worker takes to start; no time unless it is given")),
      unlimited: flag("unlimited", "Without RunPod's rate limits"),
      dashboard: flag("dashboard", "Serve a page, too, that shows its endpoints while they run"),
      flight: optional(file("flight", "Replay the last recording of this file")),
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/emulator.js"),
        ({ start }) => start(args)
      )
  )
)

const commands = [start] as const

export const emulator = group("emulator", "A RunPod on this machine, for programs in any language", {
  commands,
  made: Command.make("emulator").pipe(Command.withSubcommands(commands))
})
