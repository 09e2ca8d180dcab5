/** The words of a command line, as far as help has to know them. */
import type { Spec } from "./spec.js"

export const program = "effect-runpod"

/** The names of the program. */
export const programs: ReadonlyArray<string> = [program, "erp"]

export const looksLikeOption = (word: string): boolean => /^--?[a-z]/i.test(word)

/** A command by its words, as far as they name one. */
const commandIn = (root: Spec, words: ReadonlyArray<string>): Spec => {
  const [word, ...others] = words
  const next = root.commands.find(({ path }) => path.at(-1) === word)
  return next === undefined ? root : commandIn(next, others)
}

/** The command that a line names, and the words that name it. */
export const commandOf = (root: Spec, args: ReadonlyArray<string>): Spec => {
  const words: Array<string> = []
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? ""
    if (!looksLikeOption(word)) words.push(word)
    // The only option before a command that has a value.
    else if (word === "--log-level") at++
  }
  return commandIn(root, words)
}
