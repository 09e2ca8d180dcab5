import * as Encoding from "effect/Encoding"
import { numberOf } from "../../../internal/text/json.js"
import * as Random from "../random.js"
import { badRequest, type Route } from "./messages.js"
import { tokensOf } from "./say.js"

/** The same vector of length 1 for the same text. */
const vectorOf = (text: string, dimensions: number): ReadonlyArray<number> => {
  const random = Random.make(text, "embedding")
  const vector = Array.from({ length: dimensions }, () => random.fraction() * 2 - 1)
  const length = Math.hypot(...vector)
  return vector.map((value) => Math.fround(value / length))
}

const base64Of = (vector: ReadonlyArray<number>): string => {
  const view = new DataView(new ArrayBuffer(vector.length * 4))
  vector.forEach((value, index) => view.setFloat32(index * 4, value, true))
  return Encoding.encodeBase64(new Uint8Array(view.buffer))
}

/** A text, or its tokens; or several of them. */
const inputsOf = (input: unknown): ReadonlyArray<string> => {
  if (typeof input === "string") return [input]
  if (!Array.isArray(input)) return []
  if (input.length > 0 && input.every((token) => typeof token === "number")) return [input.join(" ")]
  return input.map((one) => (Array.isArray(one) ? one.join(" ") : String(one)))
}

export const embeddings: Route = ({ body, created, model, newId, options }) => {
  const inputs = inputsOf(body["input"])
  if (inputs.length === 0) return badRequest("input: Field required")
  const dimensions = numberOf(body["dimensions"]) ?? options.dimensions ?? 8
  const tokens = inputs.reduce((sum, text) => sum + tokensOf(text).length, 0)
  const vectors = inputs.map((text) => vectorOf(text, dimensions))
  return {
    body: {
      id: newId("embd-"),
      object: "list",
      created,
      model,
      data: vectors.map((vector, index) => ({
        index,
        object: "embedding",
        embedding: body["encoding_format"] === "base64" ? base64Of(vector) : vector
      })),
      usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null }
    },
    frames: undefined,
    tokens: 0,
    isDone: false
  }
}
