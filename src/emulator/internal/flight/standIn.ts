import type { Shape, Value } from "../../../schemas/FlightRecord.js"

/** A value of the recorded shape. Fields without a name are called `field1`, `field2`, …. */
const ofShape = (shape: Shape): unknown => {
  if (shape === "null") return null
  if (shape === "boolean") return true
  if (shape === "number") return 0
  if ("string" in shape) return "x".repeat(shape.string)
  if ("array" in shape) return shape.array.map(ofShape)
  const named = Object.entries(shape.named ?? {}).map(([key, field]) => [key, ofShape(field)])
  const others = shape.object.map((field, index) => [`field${index + 1}`, ofShape(field)])
  return Object.fromEntries([...named, ...others])
}

/** The recorded value, or one of its shape. */
export const standIn = (value: Value): unknown => ("value" in value ? value.value : ofShape(value.shape))
