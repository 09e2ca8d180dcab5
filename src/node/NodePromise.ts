/**
 * The client for programs without Effect, with undici inside and the file system for journals. The rest is `effect-runpod/Promise`.
 *
 * @since 0.1.0
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Layer from "effect/Layer"
import * as PromiseClient from "../promise/Promise.js"
import * as NodeRunPod from "./NodeRunPod.js"

/**
 * The options of `createClient`: those of `NodeRunPod.layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientOptions extends Omit<PromiseClient.ClientOptions, "httpClient">, NodeRunPod.TransportOptions {}

/**
 * A client over undici. Its batches can have a journal.
 *
 * @since 0.1.0
 * @category constructors
 */
export const createClient = (options: ClientOptions = {}): PromiseClient.Client =>
  PromiseClient.fromLayer(Layer.merge(NodeRunPod.layerConfig(options), NodeFileSystem.layer))
