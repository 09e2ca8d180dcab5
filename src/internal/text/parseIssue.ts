import type * as ParseResult from "effect/ParseResult"

/** The message of a parse error. Writing it overflows the stack when the value is nested deeply enough. */
export const issueOf = (error: ParseResult.ParseError): string => {
  try {
    return error.message
  } catch {
    return "it is nested too deeply to show where it differs"
  }
}
