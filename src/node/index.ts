/**
 * What runs on Node only: the client with its own transport, a server for webhooks, and the emulator behind a server.
 *
 * @since 0.1.0
 */
export * as NodeEmulator from "./NodeEmulator.js"
export * as NodeProgress from "./NodeProgress.js"
export * as NodePromise from "./NodePromise.js"
export * as NodeRunPod from "./NodeRunPod.js"
export * as NodeWebhooks from "./NodeWebhooks.js"
