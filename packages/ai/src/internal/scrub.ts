import * as Either from "effect/Either"
import { parseJson } from "./json.js"

/** Strikes the API key out of a text. */
export type Scrub = (text: string) => string

/** A value of JSON without the key in any of its texts. */
export const scrubJson = (value: unknown, scrub: Scrub): unknown => parseJson(scrub(JSON.stringify(value) ?? "null"))

/**
 * Reads an answer, which is used as it is. Its error is that of the answer without the key: what an error shows is cut, and a key that is
 * cut is not found any more.
 */
export const readScrubbed = <T, A, E>(
  answer: T,
  scrubbed: (answer: T) => T,
  read: (answer: T) => Either.Either<A, E>
): Either.Either<A, E> => {
  const asItIs = read(answer)
  if (Either.isRight(asItIs)) return asItIs
  const shown = read(scrubbed(answer))
  return Either.isLeft(shown) ? shown : asItIs
}
