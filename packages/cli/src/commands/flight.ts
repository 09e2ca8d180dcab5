import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { argument, optional, shared, text } from "./options.js"
import { group, lazily, verb } from "./verb.js"

const file = argument("recording", "The file of the recording")

const inspect = verb(
  "Show what went over the wire in the last recording of a file, and what became of the submits",
  Command.make("inspect", { file, ...shared }, (args) =>
    lazily(
      () => import("../handlers/flight.js"),
      ({ inspect }) => inspect(args)
    )
  )
)

const toTest = verb(
  "Print a test that replays the last recording of a file",
  Command.make(
    "to-test",
    {
      file,
      name: optional(text("name", "text", "The name of the test")),
      recordedAt: optional(
        text("recorded-at", "path", "Where the test finds the recording, from the folder it runs in")
      ),
      endpoints: Options.repeated(text("endpoint", "id", "The ids that the program asks for, in their order")),
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/flight.js"),
        ({ toTest }) => toTest(args)
      )
  )
)

export const flight = group("flight", "Recordings of what went over the wire").pipe(
  Command.withSubcommands([inspect, toTest])
)
