import process from "node:process"
import { stripVTControlCharacters } from "node:util"

/** A text of `@effect/cli`, which always has colours, as a stream is to get it: they are for terminals, and for those who want them. */
export const plain = (text: string, { isTTY }: { readonly isTTY?: boolean }): string =>
  isTTY === true && (process.env["NO_COLOR"] ?? "") === "" ? text : stripVTControlCharacters(text)
