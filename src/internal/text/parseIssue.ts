import * as ParseResult from "effect/ParseResult"

/** The message of a parse error. Writing it overflows the stack when the value is nested deeply enough. */
export const issueOf = (error: ParseResult.ParseError): string => {
  try {
    return error.message
  } catch {
    return "it is nested too deeply to show where it differs"
  }
}

/** Which field of a record does not fit; what it held is left out. */
export const wrongFieldOf = (error: ParseResult.ParseError): string => {
  try {
    return ParseResult.ArrayFormatter.formatErrorSync(error)[0]?.path.join(".") ?? ""
  } catch {
    // The formatter writes the value down, with recursion.
    return "it is nested too deeply to say where"
  }
}
