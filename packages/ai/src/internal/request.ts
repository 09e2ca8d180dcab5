import { type AiError, MalformedInput } from "@effect/ai/AiError"
import type { ProviderOptions } from "@effect/ai/LanguageModel"
import * as Tool from "@effect/ai/Tool"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import type { JsonObject } from "./json.js"
import { messagesOf } from "./messages.js"

/** What the body of a chat has beside messages and tools. */
export interface RequestConfig {
  readonly model: string
  readonly strict?: boolean | undefined
  readonly extra?: JsonObject | undefined
}

const strictly = (strict: boolean | undefined) => (strict === undefined ? {} : { strict })

/** The tools as functions, and which of them the model may or must call. */
const toolsOf = (
  { toolChoice, tools }: Pick<ProviderOptions, "toolChoice" | "tools">,
  strict: boolean | undefined
): Effect.Effect<JsonObject, AiError> => {
  if (tools.length === 0) return Effect.succeed({})
  const provided = tools.find((tool) => Tool.isProviderDefined(tool))
  if (provided !== undefined) {
    const description = `the tool ${provided.name} is another provider's: a model on RunPod has only the tools of its toolkit`
    return Effect.fail(new MalformedInput({ module: "RunPodLanguageModel", method: "tools", description }))
  }
  const allowed =
    typeof toolChoice === "object" && "oneOf" in toolChoice
      ? tools.filter(({ name }) => toolChoice.oneOf.includes(name))
      : tools
  const choice =
    typeof toolChoice !== "object"
      ? toolChoice
      : "tool" in toolChoice
        ? { type: "function", function: { name: toolChoice.tool as string } }
        : (toolChoice.mode ?? "auto")
  return Effect.succeed({
    tools: allowed.map((tool) => ({
      type: "function",
      function: {
        name: tool.name,
        description: tool.description ?? Tool.getDescriptionFromSchemaAst(tool.parametersSchema.ast),
        parameters: Tool.getJsonSchemaFromSchemaAst(tool.parametersSchema.ast),
        ...strictly(strict)
      }
    })),
    tool_choice: choice
  })
}

/** Servers take letters, digits, - and _. */
const nameOf = (name: string): string => name.replace(/[^\w-]+/g, "_").slice(0, 64) || "object"

/** The `response_format` of an object. */
export const formatOf = (name: string, schema: Schema.Schema.Any, strict?: boolean): JsonObject => {
  const description = Tool.getDescriptionFromSchemaAst(schema.ast)
  return {
    type: "json_schema",
    json_schema: {
      name: nameOf(name),
      ...(description === undefined ? {} : { description }),
      schema: Tool.getJsonSchemaFromSchemaAst(schema.ast),
      ...strictly(strict)
    }
  }
}

/** The body of a chat. Fields of `extra` come last, so they can replace any other. */
export const bodyOf = (
  options: Pick<ProviderOptions, "prompt" | "responseFormat" | "toolChoice" | "tools">,
  { extra = {}, strict, ...config }: RequestConfig
): Effect.Effect<JsonObject, AiError> =>
  Effect.zipWith(messagesOf(options.prompt), toolsOf(options, strict), (messages, tools) => {
    const { responseFormat: format } = options
    return {
      ...config,
      messages,
      ...tools,
      ...(format.type === "json" ? { response_format: formatOf(format.objectName, format.schema, strict) } : {}),
      ...extra
    }
  })
