/**
 * Language models and embeddings on RunPod serverless, for `@effect/ai`.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as ChatCompletion from "./ChatCompletion.js"

/**
 * @since 0.1.0
 */
export * as ModelCall from "./ModelCall.js"

/**
 * @since 0.1.0
 */
export * as ModelEndpoint from "./ModelEndpoint.js"

/**
 * @since 0.1.0
 */
export * as ModelError from "./ModelError.js"

/**
 * @since 0.1.0
 */
export * as OpenAi from "./OpenAi.js"

/**
 * @since 0.1.0
 */
export * as RunPodEmbeddingModel from "./RunPodEmbeddingModel.js"

/**
 * @since 0.1.0
 */
export * as RunPodLanguageModel from "./RunPodLanguageModel.js"
