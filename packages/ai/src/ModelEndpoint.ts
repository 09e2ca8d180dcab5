/**
 * Endpoints of `effect-runpod` whose jobs are calls of a model: what it does with jobs (`run`, `call`, `attach`, webhooks, `Batch` with its
 * journal and budget) it does with prompts, and the output is a completion, or an object of a schema.
 *
 * @since 0.1.0
 */
import type { AiError } from "@effect/ai/AiError"
import * as Prompt from "@effect/ai/Prompt"
import * as Endpoint from "effect-runpod/Endpoint"
import type { JobError, OutputDecodeError } from "effect-runpod/JobError"
import type { JobHandle, StreamOptions } from "effect-runpod/JobHandle"
import { jobRuntime, type RunPod } from "effect-runpod/RunPod"
import type { RunPodError } from "effect-runpod/RunPodError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import type * as Stream from "effect/Stream"
import type { ChatChunk, ChatCompletion } from "./ChatCompletion.js"
import { chunksOf, streaming } from "./internal/chat.js"
import * as Completion from "./internal/completion.js"
import { Input } from "./internal/jobTransport.js"
import { firstOf, whyNoObject } from "./internal/parts.js"
import { bodyOf } from "./internal/request.js"
import type { Scrub } from "./internal/scrub.js"
import { wholeStream } from "./internal/wholeStream.js"
import { MalformedAnswerError, type ModelError } from "./ModelError.js"
import type { Settings } from "./RunPodLanguageModel.js"

/**
 * A prompt with settings of its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChatRequest extends Settings {
  readonly prompt: Prompt.RawInput
  /** Default: the endpoint's. */
  readonly model?: string | undefined
}

/**
 * What is asked: a text, messages, a `Prompt`, or one of them with settings.
 *
 * @since 0.1.0
 * @category models
 */
export type ChatInput = Prompt.RawInput | ChatRequest

/**
 * Options of `chat`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChatOptions {
  /** The model as the worker serves it. */
  readonly model: string
  /** Default: the server's settings. */
  readonly config?: Settings | undefined
  /** Whether the jobs stream their answers, which `chunks` reads. The output of such a job is the same completion. Default: false. */
  readonly stream?: boolean | undefined
}

/**
 * Options of `object`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ObjectOptions<A, I> extends Omit<ChatOptions, "stream"> {
  /** What the answer is. It is sent as JSON Schema, and the answer is decoded with it. */
  readonly schema: Schema.Schema<A, I>
  /** The name of the schema in the request. Default: its identifier, or `object`. */
  readonly objectName?: string | undefined
}

/**
 * Options of `object` with inputs of one's own.
 *
 * @since 0.1.0
 * @category models
 */
export interface PromptedObjectOptions<A, I, In> extends ObjectOptions<A, I> {
  /** What is asked for an input. */
  readonly prompt: (input: In) => ChatInput
}

const isChatRequest = (input: ChatInput): input is ChatRequest =>
  typeof input === "object" && "prompt" in input && !Prompt.isPrompt(input)

/** What a call is sent as. It cannot be read back: a prompt is more than the messages it becomes. */
const inputSchema = <In>(toBody: (input: In) => Effect.Effect<Record<string, unknown>, AiError>) =>
  Schema.transformOrFail(
    Input,
    Schema.declare((_): _ is In => true),
    {
      strict: true,
      decode: (value, _, ast) => ParseResult.fail(new ParseResult.Forbidden(ast, value, "prompts are only written")),
      encode: (input, _, ast) =>
        Effect.mapBoth(toBody(input), {
          onFailure: (error) =>
            new ParseResult.Type(ast, input, "description" in error ? error.description : error.message),
          onSuccess: (body) => ({ openai_route: "/v1/chat/completions", openai_input: body })
        })
    }
  )

const asked = (
  input: ChatInput,
  { config, model }: ChatOptions,
  responseFormat: Parameters<typeof bodyOf>[0]["responseFormat"]
): Effect.Effect<Record<string, unknown>, AiError> => {
  const { prompt, ...settings } = isChatRequest(input) ? input : { prompt: input }
  const given = { ...config, ...settings, model: ("model" in settings ? settings.model : undefined) ?? model }
  return bodyOf({ prompt: Prompt.make(prompt), responseFormat, tools: [], toolChoice: "none" }, given)
}

/**
 * An endpoint whose jobs are chats. A job that is COMPLETED with an error of the worker fails with `OutputDecodeError`; `errorOf` says
 * which it was.
 *
 * @example
 * ```ts
 * import { ModelEndpoint } from "effect-runpod-ai"
 * import { Console, Effect } from "effect"
 *
 * const program = Effect.gen(function* () {
 *   const qwen = yield* ModelEndpoint.chat("abc123", { model: "Qwen/Qwen3-32B-AWQ", config: { max_tokens: 200 } })
 *   const job = yield* qwen.run("Why is the sky blue?", { policy: { ttl: "1 hour" } })
 *   yield* Console.log(`asked as ${job.id}`) // another process can `qwen.attach(id).result()`
 *   const { choices, usage } = yield* job.result()
 *   yield* Console.log(choices[0]?.content, usage?.totalTokens)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const chat = (
  endpointId: string,
  options: ChatOptions
): Effect.Effect<Endpoint.MadeEndpoint<ChatInput, ChatCompletion>, never, RunPod> =>
  Effect.flatMap(jobRuntime, ({ scrub }) =>
    Endpoint.make(endpointId, {
      input: inputSchema((input: ChatInput) =>
        Effect.map(asked(input, options, { type: "text" }), (body) =>
          options.stream === true ? streaming(body) : body
        )
      ),
      output: Completion.schemaOf(scrub)
    })
  )

/** The text of an answer that is complete. */
const textOf = (output: unknown, scrub?: Scrub): Either.Either<string, ModelError> =>
  Either.flatMap(Completion.read(output, scrub), (completion) => text(completion, scrub))

const text = (completion: ChatCompletion, scrub?: Scrub): Either.Either<string, ModelError> => {
  const choice = firstOf(completion)
  const why = choice === undefined ? undefined : whyNoObject(choice, scrub)
  if (why !== undefined) return Either.left(why)
  return choice === undefined || choice.content === ""
    ? Either.left(new MalformedAnswerError({ issue: "expected an object, got an answer without text" }))
    : Either.right(choice.content)
}

const textSchema = (scrub: Scrub) =>
  Schema.transformOrFail(Schema.Unknown, Schema.String, {
    strict: true,
    decode: (value, _, ast) =>
      Either.mapLeft(textOf(value, scrub), (error) => new ParseResult.Type(ast, value, error.message)),
    encode: (content) =>
      ParseResult.succeed({ choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }] })
  })

const nameOf = (schema: Schema.Schema.Any): string =>
  Option.getOrElse(
    Option.orElse(AST.getIdentifierAnnotation(schema.ast), () => AST.getIdentifierAnnotation(AST.typeAST(schema.ast))),
    () => "object"
  )

/**
 * An endpoint whose jobs give objects of a schema. An answer that is cut off, refused, no JSON or not what the schema says fails
 * with `OutputDecodeError`, whose `issue` says which; `errorOf` gives it as a `ModelError`.
 *
 * @example
 * ```ts
 * import { Batch } from "effect-runpod"
 * import { ModelEndpoint } from "effect-runpod-ai"
 * import { Effect, Schema } from "effect"
 *
 * const Review = Schema.Struct({ stars: Schema.Int, summary: Schema.String })
 *
 * const rate = (reviews: ReadonlyArray<string>) =>
 *   Effect.gen(function* () {
 *     const rating = yield* ModelEndpoint.object("abc123", {
 *       model: "Qwen/Qwen3-32B-AWQ",
 *       schema: Review,
 *       prompt: (review: string) => `Rate this review: ${review}`,
 *       config: { temperature: 0, max_tokens: 300 }
 *     })
 *     return yield* Batch.collect(rating, reviews)
 *   })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const object: {
  <A, I, In>(
    endpointId: string,
    options: PromptedObjectOptions<A, I, In>
  ): Effect.Effect<Endpoint.MadeEndpoint<In, A>, never, RunPod>
  <A, I>(
    endpointId: string,
    options: ObjectOptions<A, I>
  ): Effect.Effect<Endpoint.MadeEndpoint<ChatInput, A>, never, RunPod>
} = <A, I>(
  endpointId: string,
  options: ObjectOptions<A, I> & { readonly prompt?: (input: ChatInput) => ChatInput }
): Effect.Effect<Endpoint.MadeEndpoint<ChatInput, A>, never, RunPod> => {
  const { objectName, prompt = identity, schema } = options
  const format = { type: "json", objectName: objectName ?? nameOf(schema), schema } as const
  return Effect.flatMap(jobRuntime, ({ scrub }) =>
    Endpoint.make(endpointId, {
      input: inputSchema((input: ChatInput) => asked(prompt(input), options, format)),
      output: Schema.compose(textSchema(scrub), Schema.parseJson(schema))
    })
  )
}

/**
 * The answer of a job of `chat` with `stream: true`, as it comes. Nothing of it is lost or doubled: what a lost answer of RunPod held is
 * taken from the job's output. RunPod gives each piece once, so what another reader took is missing here: then take `result`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const chunks = (
  job: JobHandle<ChatCompletion>,
  options: Omit<StreamOptions, "onGap"> = {}
): Stream.Stream<ChatChunk, RunPodError | JobError | ModelError> =>
  chunksOf(
    () =>
      wholeStream(
        (onGap) => job.stream({ ...options, onGap }),
        job.result({ poll: { initial: 0 } }).pipe(
          Effect.map(({ raw }) => raw),
          Effect.catchTag("OutputDecodeError", ({ output }) => Effect.succeed(output))
        )
      ),
    job.scrub
  )

/**
 * What the output of a job holds that was refused with `OutputDecodeError`: the worker's error, a stream that is incomplete, an
 * answer that was cut off or refused. `undefined` when it is a complete answer, only not the object that its schema asks for.
 *
 * @since 0.1.0
 * @category combinators
 */
export const errorOf = ({ output }: OutputDecodeError): ModelError | undefined =>
  Option.getOrUndefined(Either.getLeft(textOf(output)))
