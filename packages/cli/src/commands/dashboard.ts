import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { access, dollars, optional, port, shared, text } from "./options.js"
import { lazily, verb } from "./verb.js"

export const dashboard = verb(
  "Serve a page on this machine that shows endpoints and batches while they run, until a signal",
  Command.make(
    "dashboard",
    {
      endpoints: Options.repeated(text("endpoint", "id", "An endpoint to show; as many as there are")),
      journals: Options.repeated(text("journal", "path", "The journal of a batch to show; as many as there are")),
      rate: optional(dollars("rate", "What a worker costs in a second, for costs on the page")),
      port,
      ...access,
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/dashboard.js"),
        ({ dashboard }) => dashboard(args)
      )
  )
)
