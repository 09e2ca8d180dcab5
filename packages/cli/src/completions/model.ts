/** What the scripts of all shells know of the commands, with a short name for each option. */
import * as SchemaAST from "effect/SchemaAST"
import { Faults } from "../handlers/emulatorConfig.js"
import { builtIn, flatten, type Option, type Spec, type Value } from "../spec/spec.js"
import { programs } from "../spec/words.js"

/** An option. Those of two commands are one if they differ in nothing. */
export interface Known {
  readonly id: string
  readonly names: ReadonlyArray<string>
  readonly description: string
  /** What its value is; nothing where the option is on or off. */
  readonly takes: string
  readonly isRepeated: boolean
}

export interface Slot {
  readonly name: string
  readonly takes: string
}

export interface Command {
  /** The words that name it, with blanks between them. */
  readonly path: string
  readonly below: ReadonlyArray<{ readonly name: string; readonly description: string }>
  readonly slots: ReadonlyArray<Slot>
  /** Whether the last argument may be repeated. */
  readonly isEndless: boolean
  /** The ids of its options. */
  readonly known: ReadonlyArray<string>
}

export interface Model {
  readonly commands: ReadonlyArray<Command>
  readonly options: ReadonlyArray<Known>
}

/** A fault of each kind as the emulator reads it, without what need not be given. What must be given is a time, in milliseconds. */
export const faults: ReadonlyArray<string> = Faults.value.members.map(({ ast }) => {
  const fields = SchemaAST.getPropertySignatures(ast).filter(({ isOptional }) => !isOptional)
  const values = fields.map(({ name, type }) => [name, SchemaAST.isLiteral(type) ? type.literal : 1000] as const)
  return JSON.stringify([Object.fromEntries(values)])
})

/**
 * The kind of a value: `text`, `file`, `json` (a literal, or `@` and a file) or `choice`. Behind it, after blanks, are the words to choose
 * from, which have no blanks themselves.
 */
const takesOf = (value: Value, description: string): string => {
  if (value.kind === "choice") return ["choice", ...value.choices].join(" ")
  return /\bJSON, @file\b/.test(description) ? "json" : value.kind
}

const takesOfOption = ({ description, names, value }: Option): string => {
  if (value === undefined) return ""
  const takes = takesOf(value, description)
  return takes === "json" && names.includes("--faults") ? ["json", ...faults].join(" ") : takes
}

const last = (path: ReadonlyArray<string>): string => path.at(-1) ?? ""

/** What the scripts know. */
export const modelOf = (root: Spec): Model => {
  const options: Array<Known> = []
  const idOf = (option: Option): string => {
    const { description, isRepeated, names } = option
    const known = { names, description, isRepeated, takes: takesOfOption(option) }
    const found = options.find(({ id: _, ...other }) => JSON.stringify(other) === JSON.stringify(known))
    if (found !== undefined) return found.id
    const same = options.filter((other) => other.names[0] === names[0]).length
    const id = `${(names[0] ?? "").slice(2)}${same === 0 ? "" : `.${same + 1}`}`
    options.push({ id, ...known })
    return id
  }
  const commands = flatten(root).map((spec) => ({
    path: spec.path.join(" "),
    below: spec.commands.map(({ description, path }) => ({ name: last(path), description })),
    slots: spec.arguments.map(({ description, name, value }) => ({ name, takes: takesOf(value, description) })),
    isEndless: spec.arguments.at(-1)?.isRepeated ?? false,
    known: [...spec.options, ...builtIn].map(idOf)
  }))
  return { commands, options }
}

/** The first lines of a script. */
export const heading = (shell: string): string =>
  `# Completions of ${programs.join(" and ")} for ${shell}, printed by: ${programs[0]} completions ${shell}`

/** A word as bash and zsh take it. */
export const quoted = (text: string): string => (/^[\w.-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

/** Words as bash and zsh take them. */
export const words = (texts: ReadonlyArray<string>): string => `(${texts.map(quoted).join(" ")})`
