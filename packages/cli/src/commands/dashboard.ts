import { access, dollars, fileList, optional, port, shared, textList } from "./options.js"
import { define, lazily, verb } from "./verb.js"

export const dashboard = verb(
  "Serve a page that shows endpoints and batches while they run, until a signal",
  define(
    "dashboard",
    {
      endpoints: textList("endpoint", "id", "An endpoint to show; as many as there are"),
      journals: fileList("journal", "The journal of a batch to show; as many as there are"),
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
