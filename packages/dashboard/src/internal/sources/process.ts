import type * as Context from "effect/Context"
import type { JobSpans, Options, Source } from "../../Source.js"

export const make = (
  spans: Context.Tag.Service<typeof JobSpans>,
  endpointId: string,
  options: Options = {}
): Source => ({
  name: options.name ?? `${endpointId} (this program)`,
  kind: "process",
  endpointId,
  cost: options.cost,
  limits: options.limits,
  read: (after) => spans.changes(endpointId, after),
  events: (id) => spans.events(endpointId, id),
  actions: {}
})
