import * as Command from "@effect/cli/Command"
import { file as filePath, fileArgument, optional, shared, text, textList } from "./options.js"
import { define, group, lazily, verb } from "./verb.js"

const file = fileArgument("recording", "The file of the recording")

const inspect = verb(
  "Show what went over the wire in the last recording of a file, and what became of the submits",
  define("inspect", { file, ...shared }, (args) =>
    lazily(
      () => import("../handlers/flight.js"),
      ({ inspect }) => inspect(args)
    )
  )
)

const toTest = verb(
  "Print a test that replays the last recording of a file",
  define(
    "to-test",
    {
      file,
      name: optional(text("name", "text", "The name of the test")),
      recordedAt: optional(filePath("recorded-at", "Where the test finds the recording, from the folder it runs in")),
      endpoints: textList("endpoint", "id", "The ids that the program asks for, in their order"),
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/flight.js"),
        ({ toTest }) => toTest(args)
      )
  )
)

const commands = [inspect, toTest] as const

export const flight = group("flight", "Recordings of what went over the wire", {
  commands,
  made: Command.make("flight").pipe(Command.withSubcommands(commands))
})
