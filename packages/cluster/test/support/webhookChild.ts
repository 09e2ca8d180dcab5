/** A receiver in a process of its own whose store is in a database. Its arguments: where that is, the port, and which delivery it dies at. */
import { Layer } from "effect"
import { Sql } from "effect-runpod-cluster"
import { runReceiver } from "../../../../test/support/receiverProcess.js"
import { clientOf, type Place } from "./clients.js"

export interface WebhookChild {
  readonly place: Place
  readonly prefix: string
}

const [database = "", port = "0", killAt = "0"] = process.argv.slice(2)
const { place, prefix }: WebhookChild = JSON.parse(database)

runReceiver(Layer.provide(Sql.layerWebhookStore({ prefix }), clientOf(place)), {
  port: Number(port),
  killAt: Number(killAt)
})
