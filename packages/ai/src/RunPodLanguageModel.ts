/**
 * `LanguageModel` of `@effect/ai` over an endpoint whose worker serves a model by the OpenAI API: worker-vllm of any age, or another
 * image with that route. It asks `/v1/chat/completions`, by a job that outlives a cold start, or by the endpoint's route.
 *
 * @since 0.1.0
 */
import type { AiError } from "@effect/ai/AiError"
import * as LanguageModel from "@effect/ai/LanguageModel"
import * as AiModel from "@effect/ai/Model"
import type { AllPartsEncoded } from "@effect/ai/Response"
import { addGenAIAnnotations } from "@effect/ai/Telemetry"
import type { RunPod } from "effect-runpod/RunPod"
import type { RunPodHttpClient } from "effect-runpod/RunPodHttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Span } from "effect/Tracer"
import { toAiError } from "./internal/aiError.js"
import { modelOf } from "./internal/call.js"
import * as Chat from "./internal/chat.js"
import type { JsonObject } from "./internal/json.js"
import { firstOf, partsOf, whyNoObject } from "./internal/parts.js"
import { bodyOf } from "./internal/request.js"
import { streamPartsOf } from "./internal/streamParts.js"
import type * as ModelCall from "./ModelCall.js"

/**
 * How the model writes: fields of the request, under the names of the OpenAI API. What is not given is the server's default.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  readonly temperature?: number | undefined
  /** The most tokens of an answer. */
  readonly max_tokens?: number | undefined
  /** The same, where a server does not take `max_tokens`; it counts the reasoning, too. */
  readonly max_completion_tokens?: number | undefined
  readonly top_p?: number | undefined
  readonly stop?: string | ReadonlyArray<string> | undefined
  readonly seed?: number | undefined
  readonly presence_penalty?: number | undefined
  readonly frequency_penalty?: number | undefined
  readonly reasoning_effort?: "low" | "medium" | "high" | undefined
  readonly parallel_tool_calls?: boolean | undefined
  readonly user?: string | undefined
  /** Whether schemas of objects and tools are marked `strict`. vLLM needs no such mark. Default: they are not marked. */
  readonly strict?: boolean | undefined
  /**
   * Other fields of the body, such as vLLM's `top_k`, `min_p`, `repetition_penalty`, `guided_regex` or `chat_template_kwargs`. They
   * replace fields of the same name.
   */
  readonly extra?: Readonly<Record<string, unknown>> | undefined
}

/**
 * The settings of the calls of an effect; see `withConfigOverride`.
 *
 * @since 0.1.0
 * @category tags
 */
export class Config extends Context.Tag("effect-runpod-ai/RunPodLanguageModel/Config")<Config, Config.Service>() {}

/**
 * The types of `Config`.
 *
 * @since 0.1.0
 * @category models
 */
export declare namespace Config {
  /**
   * Settings, and the model when it is another one.
   *
   * @since 0.1.0
   * @category models
   */
  export interface Service extends Settings {
    readonly model?: string | undefined
  }
}

/**
 * The options of a model.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends ModelCall.Options {
  /** The model as the worker serves it: its Hugging Face id, or the name that the worker is configured with. */
  readonly model: string
  /** Default: the server's settings. */
  readonly config?: Settings | undefined
}

const currentConfig: Effect.Effect<Config.Service | undefined> = Effect.map(Effect.serviceOption(Config), (config) =>
  config._tag === "Some" ? config.value : undefined
)

const annotateRequest = (span: Span, body: JsonObject): void => {
  const number = (name: string) => (typeof body[name] === "number" ? body[name] : undefined)
  addGenAIAnnotations(span, {
    system: "runpod",
    operation: { name: "chat" },
    request: {
      model: String(body["model"]),
      temperature: number("temperature"),
      topP: number("top_p"),
      maxTokens: number("max_tokens") ?? number("max_completion_tokens"),
      frequencyPenalty: number("frequency_penalty"),
      presencePenalty: number("presence_penalty"),
      seed: number("seed")
    }
  })
}

const annotateResponse = (span: Span, part: AllPartsEncoded): void => {
  if (part.type === "response-metadata") {
    addGenAIAnnotations(span, { response: { id: part.id, model: part.modelId } })
  }
  if (part.type === "finish") {
    const { inputTokens, outputTokens } = part.usage
    addGenAIAnnotations(span, { response: { finishReasons: [part.reason] }, usage: { inputTokens, outputTokens } })
  }
}

/**
 * The model.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({
  config,
  model,
  ...options
}: Options): Effect.Effect<LanguageModel.Service, never, RunPod | RunPodHttpClient> =>
  Effect.gen(function* () {
    const called = yield* modelOf(options)

    const bodyFor = (asked: LanguageModel.ProviderOptions): Effect.Effect<JsonObject, AiError> =>
      currentConfig.pipe(
        Effect.flatMap((override) => bodyOf(asked, { ...config, ...override, model: override?.model ?? model })),
        Effect.tap((body) => Effect.sync(() => annotateRequest(asked.span, body)))
      )

    return yield* LanguageModel.make({
      generateText: (asked) =>
        Effect.gen(function* () {
          const toError = toAiError("RunPodLanguageModel", "generateText")
          const body = yield* bodyFor(asked)
          const completion = yield* Effect.mapError(Chat.complete(called, body), toError)
          const choice = firstOf(completion)
          const why =
            asked.responseFormat.type === "json" && choice !== undefined ? whyNoObject(choice, called.scrub) : undefined
          if (why !== undefined) return yield* Effect.fail(toError(why))
          const parts = yield* partsOf(completion, called.scrub)
          for (const part of parts) annotateResponse(asked.span, part)
          return parts
        }),
      streamText: (asked) =>
        bodyFor(asked).pipe(
          Effect.map((body) =>
            Chat.stream(called, body).pipe(
              Stream.mapError(toAiError("RunPodLanguageModel", "streamText")),
              (chunks) => streamPartsOf(chunks, called.scrub),
              Stream.tap((part) => Effect.sync(() => annotateResponse(asked.span, part)))
            )
          ),
          Stream.unwrap
        )
    })
  })

/**
 * `make` as a layer.
 *
 * @example
 * ```ts
 * import { LanguageModel } from "@effect/ai"
 * import { RunPodLanguageModel } from "effect-runpod-ai"
 * import { NodeRunPod } from "effect-runpod/Node"
 * import { Console, Effect, Layer } from "effect"
 *
 * const Qwen = RunPodLanguageModel.layer({
 *   endpoint: "abc123",
 *   model: "Qwen/Qwen3-32B-AWQ",
 *   config: { temperature: 0.2, max_tokens: 1024 },
 *   job: { timeout: "10 minutes" }
 * })
 *
 * const program = LanguageModel.generateText({ prompt: "Why is the sky blue?" }).pipe(
 *   Effect.flatMap((answer) => Console.log(answer.text)),
 *   Effect.provide(Layer.provide(Qwen, NodeRunPod.layerConfig()))
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<LanguageModel.LanguageModel, never, RunPod | RunPodHttpClient> =>
  Layer.effect(LanguageModel.LanguageModel, make(options))

/**
 * The model over `/v1/responses` of the OpenAI route, which newer images have, by `@effect/ai-openai`: an optional peer that is loaded here. Its
 * settings are options of `effect-runpod-ai/RunPodResponses`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerResponses = (options: {
  readonly endpoint: string
  readonly model: string
}): Layer.Layer<LanguageModel.LanguageModel, never, RunPodHttpClient> =>
  Layer.unwrapEffect(
    Effect.map(
      Effect.promise(() => import("./RunPodResponses.js")),
      (responses) => responses.layer(options)
    )
  )

/**
 * The model as an `AiModel`, which can be provided, or yielded to be provided later.
 *
 * @since 0.1.0
 * @category constructors
 */
export const model = (
  options: Options
): AiModel.Model<"runpod", LanguageModel.LanguageModel, RunPod | RunPodHttpClient> =>
  AiModel.make("runpod", layer(options))

/**
 * Changes settings for the calls of an effect; the last one that is set counts.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withConfigOverride: {
  (overrides: Config.Service): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, overrides: Config.Service): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, overrides: Config.Service) =>
  Effect.flatMap(currentConfig, (config) => Effect.provideService(self, Config, { ...config, ...overrides }))
)
