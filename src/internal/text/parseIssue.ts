import type * as ParseResult from "effect/ParseResult"

/** What a parse error says; a value nested more deeply than calls can be cannot be shown. */
export const issueOf = (error: ParseResult.ParseError): string => {
  try {
    return error.message
  } catch {
    return "it is nested too deeply to show where it differs"
  }
}
