/** What is wrong with a command line, before anything of it runs: in one sentence, with what to give instead. */
import { builtIn, type Option, optionOf, type Spec } from "./spec.js"
import { looksLikeOption, program } from "./words.js"

/** How many letters have to change to make one text of the other. */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, change))
    }
    row = next
  }
  return row[b.length] ?? 0
}

const nearest = (word: string, known: ReadonlyArray<string>): string => {
  const [found] = known
    .map((name) => ({ name, away: distance(word.toLowerCase(), name) }))
    .sort((a, b) => a.away - b.away)
  return found !== undefined && found.away <= Math.max(1, Math.ceil(word.length / 3))
    ? `: did you mean ${found.name}?`
    : "."
}

/** A word of the user, short enough for a sentence. */
const quoted = (word: string): string => (word.length > 60 ? `${word.slice(0, 60)}…` : word)

const see = ({ path }: Spec): string => `See ${[program, ...path].join(" ")} --help.`

const listOf = (words: ReadonlyArray<string>): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1) ?? ""}`

/** What is read of a line so far. */
interface Reading {
  readonly spec: Spec
  readonly positional: ReadonlyArray<string>
  readonly given: ReadonlySet<Option>
}

type Step = { readonly problem: string } | { readonly reading: Reading; readonly taken: number }

const readOption = ({ given, positional, spec }: Reading, word: string, next: string | undefined): Step => {
  const [name = "", ...rest] = word.split("=")
  const option = optionOf(spec, name)
  if (option === undefined) {
    const known = [...spec.options, ...builtIn].flatMap(({ names }) => names)
    return { problem: `Unknown option ${quoted(name)}${nearest(name, known)} ${see(spec)}` }
  }
  if (given.has(option) && !option.isRepeated) return { problem: `${name} is given twice: give it once.` }
  const reading = { spec, positional, given: new Set([...given, option]) }
  if (option.value === undefined) {
    if (rest.length === 0) return { reading, taken: 1 }
    return { problem: `${name} takes no value: give it or leave it out.` }
  }
  const value = rest.length > 0 ? rest.join("=") : next
  const { kind, placeholder } = option.value
  if (value === undefined || (rest.length === 0 && looksLikeOption(value))) {
    return {
      problem: `${name} needs a value: ${name} ${kind === "choice" ? option.value.choices.join("|") : placeholder}.`
    }
  }
  if (kind === "choice" && !option.value.choices.includes(value)) {
    return { problem: `${name} takes ${listOf(option.value.choices)}, not ${quoted(value)}.` }
  }
  return { reading, taken: rest.length > 0 ? 1 : 2 }
}

const readWord = ({ given, positional, spec }: Reading, word: string): Step => {
  if (spec.commands.length === 0) return { reading: { spec, given, positional: [...positional, word] }, taken: 1 }
  const names = spec.commands.map(({ path }) => path.at(-1) ?? "")
  const found = spec.commands.find(({ path }) => path.at(-1) === word)
  if (found !== undefined) return { reading: { spec: found, given, positional }, taken: 1 }
  const command = [...spec.path, quoted(word)].join(" ")
  return { problem: `Invalid subcommand ${command}${nearest(word, names)} There are ${names.join(", ")}.` }
}

const endOf = ({ given, positional, spec }: Reading): string | undefined => {
  const missing = spec.arguments.filter(({ isOptional, isRepeated }) => !isOptional && !isRepeated)[positional.length]
  if (missing !== undefined) return `Missing argument <${missing.name}>: ${missing.description}. ${see(spec)}`
  const mostOf = spec.arguments.some(({ isRepeated }) => isRepeated) ? Infinity : spec.arguments.length
  const extra = positional[mostOf]
  if (extra !== undefined && spec.commands.length === 0) {
    return `Unknown argument ${quoted(extra)}: there is one too many. ${see(spec)}`
  }
  const wrong = spec.arguments.flatMap(({ name, value }, i) => {
    const word = positional[i]
    return word === undefined || value.kind !== "choice" || value.choices.includes(word)
      ? []
      : `<${name}> is ${listOf(value.choices)}, not ${quoted(word)}.`
  })[0]
  if (wrong !== undefined) return wrong
  const needed = spec.options.find((option) => option.isRequired && !given.has(option))
  return (
    needed &&
    `Missing option ${needed.names[0]} ${needed.value?.placeholder ?? ""}: ${needed.description}. ${see(spec)}`
  )
}

/** Why a command line cannot be run, or nothing. Values of options are read later. */
export const problemOf = (root: Spec, args: ReadonlyArray<string>): string | undefined => {
  let reading: Reading = { spec: root, positional: [], given: new Set() }
  for (let at = 0; at < args.length;) {
    const word = args[at] ?? ""
    const step = looksLikeOption(word) ? readOption(reading, word, args[at + 1]) : readWord(reading, word)
    if ("problem" in step) return step.problem
    reading = step.reading
    at += step.taken
  }
  return endOf(reading)
}
