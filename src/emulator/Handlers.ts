/**
 * Ready-made workers for endpoints of the emulator.
 *
 * @since 0.1.0
 */
import type { App, Handler } from "./contract.js"
import { makeApp } from "./internal/vllm/app.js"
import { makeEngine } from "./internal/vllm/engine.js"
import { makeHandler } from "./internal/vllm/worker.js"
import type { VllmOptions } from "./vllm.js"

/**
 * @since 0.1.0
 * @category models
 */
export type * from "./vllm.js"

/**
 * A worker as RunPod's `worker-vllm` is, with a model that always says the same: chat/completions, completions, embeddings, responses and
 * models, plain and streamed, with tools and schemas; its errors are yields of a job that completes.
 *
 * @example
 * ```ts
 * import * as Emulator from "effect-runpod/Emulator"
 *
 * export const emulated = Emulator.layerRunPod({
 *   endpoints: { llm: { handler: Emulator.handler.vllm({ model: "my/model" }), concurrency: 30, coldStart: "30 seconds" } }
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const vllm = (options: VllmOptions = {}): Handler => makeHandler(makeEngine(options), options)

/**
 * vLLM's own server, for the workers of a load-balancing endpoint: the same routes at the root, with HTTP's statuses for errors, and
 * `/health` and `/ping`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const vllmApp = (options: VllmOptions = {}): App => makeApp(makeEngine(options))
