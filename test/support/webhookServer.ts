/**
 * A receiver in a process of its own whose store is in a file; see `receiverProcess.ts`. Its arguments: the file, the port, and which
 * delivery it dies at.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Layer } from "effect"
import * as WebhookStore from "../../src/layers/WebhookStore.js"
import { runReceiver } from "./receiverProcess.js"

const [file = "", port = "0", killAt = "0"] = process.argv.slice(2)

const store = WebhookStore.layerFile(file, { maxCount: 2_000 })

runReceiver(Layer.provide(store, NodeFileSystem.layer), { port: Number(port), killAt: Number(killAt) })
