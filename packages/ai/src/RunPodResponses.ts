/**
 * `LanguageModel` of `@effect/ai-openai` over the OpenAI route of an endpoint: it asks `/v1/responses`, which worker-vllm has since it forwards
 * every route to vLLM. `RunPodLanguageModel` works with workers of any age, and through jobs: take this one for what only OpenAI's
 * `responses` have. An entry of its own, since `@effect/ai-openai` is an optional peer.
 *
 * @since 0.1.0
 */
import type * as LanguageModel from "@effect/ai/LanguageModel"
import * as AiModel from "@effect/ai/Model"
import * as OpenAiClient from "@effect/ai-openai/OpenAiClient"
import * as OpenAiLanguageModel from "@effect/ai-openai/OpenAiLanguageModel"
import * as HttpClient from "@effect/platform/HttpClient"
import type { RunPodHttpClient } from "effect-runpod/RunPodHttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { toAiError } from "./internal/aiError.js"
import { IncompleteStreamError } from "./ModelError.js"
import * as OpenAi from "./OpenAi.js"

/**
 * The options of the model.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends OpenAi.Options {
  /** The id of the endpoint. */
  readonly endpoint: string
  /** The model as the worker serves it. */
  readonly model: string
  /** Fields of the request, as `@effect/ai-openai` has them. Default: the server's settings. */
  readonly config?: Omit<OpenAiLanguageModel.Config.Service, "model"> | undefined
}

/** `@effect/ai-openai` leaves out the events that it cannot decode: without the last one a stream would end as a success without `finish`. */
const withEnd = (client: OpenAiClient.Service): OpenAiClient.Service => ({
  ...client,
  createResponseStream: (options) =>
    Stream.suspend(() => {
      let hasEnd = false
      let received = 0
      const events = Stream.tap(client.createResponseStream(options), (event) =>
        Effect.sync(() => {
          if (event.type === "response.output_text.delta") received += event.delta.length
          hasEnd ||= event.type === "response.completed" || event.type === "response.incomplete"
        })
      )
      const end = Effect.suspend(() =>
        hasEnd ? Effect.void : Effect.fail(incomplete(new IncompleteStreamError({ reason: "NoFinish", received })))
      )
      return Stream.concat(events, Stream.drain(Stream.fromEffect(end)))
    })
})

const incomplete = toAiError("RunPodResponses", "createResponseStream")

/**
 * The client of `@effect/ai-openai` over `OpenAi.httpClient` of an endpoint: it has no key of its own, which its errors would show.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClient = (
  endpointId: string,
  options?: OpenAi.Options
): Layer.Layer<OpenAiClient.OpenAiClient, never, RunPodHttpClient> =>
  Layer.effect(OpenAiClient.OpenAiClient, Effect.map(OpenAiClient.OpenAiClient, withEnd)).pipe(
    Layer.provide(OpenAiClient.layer({})),
    Layer.provide(Layer.effect(HttpClient.HttpClient, OpenAi.httpClient(endpointId, options)))
  )

/**
 * The model as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = ({
  config,
  endpoint,
  model,
  ...options
}: Options): Layer.Layer<LanguageModel.LanguageModel, never, RunPodHttpClient> =>
  OpenAiLanguageModel.layer(config === undefined ? { model } : { model, config }).pipe(
    Layer.provide(layerClient(endpoint, options))
  )

/**
 * The model as an `AiModel`, which can be provided, or yielded to be provided later.
 *
 * @since 0.1.0
 * @category constructors
 */
export const model = (options: Options): AiModel.Model<"runpod", LanguageModel.LanguageModel, RunPodHttpClient> =>
  AiModel.make("runpod", layer(options))
