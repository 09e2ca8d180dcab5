import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Options, Service } from "../../layers/WebhookStore.js"
import { DeliveryTable, limitsOf } from "./deliveryTable.js"

/** The store in memory. */
export const make = (options: Options): Service => {
  const table = new DeliveryTable(limitsOf(options))
  return {
    add: (delivery) =>
      Effect.sync(() => {
        const verdict = table.check(delivery)
        if (verdict !== "New") return { _tag: verdict }
        const sequence = table.latest + 1
        table.insert({ ...delivery, sequence })
        return { _tag: "Stored", sequence }
      }),
    after: (sequence, limit) => Effect.sync(() => table.range(sequence, Infinity, limit)),
    find: (match) => Effect.sync(() => Option.fromNullable(table.find(match))),
    latest: Effect.sync(() => table.latest)
  }
}
