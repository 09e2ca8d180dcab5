/**
 * `EmbeddingModel` of `@effect/ai` over an endpoint whose worker has `/v1/embeddings`: worker-infinity-embedding, or worker-vllm of a
 * newer image with an embedding model.
 *
 * @since 0.1.0
 */
import * as EmbeddingModel from "@effect/ai/EmbeddingModel"
import * as AiModel from "@effect/ai/Model"
import type { RunPod } from "effect-runpod/RunPod"
import type { RunPodHttpClient } from "effect-runpod/RunPodHttpClient"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { toAiError } from "./internal/aiError.js"
import { modelOf } from "./internal/call.js"
import * as Embeddings from "./internal/embeddings.js"
import { readScrubbed, scrubJson } from "./internal/scrub.js"
import type * as ModelCall from "./ModelCall.js"

/**
 * Fields of the request, under the names of the OpenAI API.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /** The length of the vectors, where the model can shorten them. Default: the model's. */
  readonly dimensions?: number | undefined
  /** Other fields of the body. They replace fields of the same name. */
  readonly extra?: Readonly<Record<string, unknown>> | undefined
}

/**
 * What all embedding models take.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommonOptions extends ModelCall.Options {
  /** The model as the worker serves it. */
  readonly model: string
  /** Default: the server's settings. */
  readonly config?: Settings | undefined
  /** The most texts of one request. RunPod takes 10 MiB of them. Default: 256. */
  readonly maxBatchSize?: number | undefined
}

/**
 * Options of `layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends CommonOptions {
  /** Remembers vectors of texts that come again. Default: none are. */
  readonly cache?: { readonly capacity: number; readonly timeToLive: Duration.DurationInput } | undefined
}

/**
 * Options of `layerDataLoader`.
 *
 * @since 0.1.0
 * @category models
 */
export interface DataLoaderOptions extends CommonOptions {
  /** How long the texts of any fiber are collected before they are sent in one request. */
  readonly window: Duration.DurationInput
}

const embedder = ({ config = {}, model, ...options }: CommonOptions) =>
  Effect.map(modelOf(options), ({ request, scrub }) => (input: ReadonlyArray<string>) => {
    const { dimensions, extra } = config
    const body = { model, input, ...(dimensions === undefined ? {} : { dimensions }), ...extra }
    return request("/v1/embeddings", body).pipe(
      Effect.flatMap((answer) =>
        readScrubbed(
          answer,
          (quoted) => scrubJson(quoted, scrub),
          (whole) => Embeddings.read(whole, input.length)
        )
      ),
      Effect.mapError(toAiError("RunPodEmbeddingModel", "embedMany"))
    )
  })

const defaultBatchSize = 256

/**
 * The model: what one `embedMany` asks for goes out in requests of `maxBatchSize` texts.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({
  cache,
  maxBatchSize = defaultBatchSize,
  ...options
}: Options): Effect.Effect<EmbeddingModel.Service, never, RunPod | RunPodHttpClient> =>
  Effect.flatMap(embedder(options), (embedMany) =>
    EmbeddingModel.make({ embedMany, maxBatchSize, ...(cache === undefined ? {} : { cache }) })
  )

/**
 * The model, which collects the texts of all fibers for `window` and sends them together.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDataLoader = ({
  maxBatchSize = defaultBatchSize,
  window,
  ...options
}: DataLoaderOptions): Effect.Effect<EmbeddingModel.Service, never, RunPod | RunPodHttpClient | Scope.Scope> =>
  Effect.flatMap(embedder(options), (embedMany) => EmbeddingModel.makeDataLoader({ embedMany, maxBatchSize, window }))

/**
 * `make` as a layer.
 *
 * @example
 * ```ts
 * import { EmbeddingModel } from "@effect/ai"
 * import { RunPodEmbeddingModel } from "effect-runpod-ai"
 * import { Effect } from "effect"
 *
 * const Embeddings = RunPodEmbeddingModel.layer({ endpoint: "abc123", model: "BAAI/bge-small-en-v1.5" })
 *
 * const program = Effect.gen(function* () {
 *   const model = yield* EmbeddingModel.EmbeddingModel
 *   return yield* model.embedMany(["an oak", "a beech"])
 * }).pipe(Effect.provide(Embeddings))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<EmbeddingModel.EmbeddingModel, never, RunPod | RunPodHttpClient> =>
  Layer.effect(EmbeddingModel.EmbeddingModel, make(options))

/**
 * `makeDataLoader` as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerDataLoader = (
  options: DataLoaderOptions
): Layer.Layer<EmbeddingModel.EmbeddingModel, never, RunPod | RunPodHttpClient> =>
  Layer.scoped(EmbeddingModel.EmbeddingModel, makeDataLoader(options))

/**
 * `layer` as an `AiModel`, which can be provided, or yielded to be provided later.
 *
 * @since 0.1.0
 * @category constructors
 */
export const model = (
  options: Options
): AiModel.Model<"runpod", EmbeddingModel.EmbeddingModel, RunPod | RunPodHttpClient> =>
  AiModel.make("runpod", layer(options))
