/** The help of a command, in lines that are no wider than the terminal. */
import type { Option, Spec } from "./spec.js"
import { program } from "./words.js"
import type { Status } from "./statuses.js"

/** Where the width of a terminal is not known. */
const usualWidth = 80

/** Narrower than this nothing can be read. */
const leastWidth = 20

/** The widest line, where the terminal is wider: longer lines are hard to read. */
const widest = 100

/** How wide help may be on a stream. */
export const widthOf = ({ columns }: { readonly columns?: number | undefined }): number =>
  columns === undefined || columns <= 0 ? usualWidth : Math.max(leastWidth, Math.min(columns, widest))

/** Words in lines, the first behind `first`, the others behind as many spaces as `indent` says. */
const wrapped = (first: string, indent: number, words: string, width: number): ReadonlyArray<string> => {
  const margin = " ".repeat(Math.min(indent, Math.max(0, width - leastWidth)))
  const lines: Array<string> = []
  let line = first
  for (const word of words.split(" ").flatMap((word) => piecesOf(word, Math.max(1, width - margin.length)))) {
    const isBegin = line.trim() === "" || line.endsWith(" ")
    const next = isBegin ? line + word : `${line} ${word}`
    if (next.length <= width) {
      line = next
    } else {
      lines.push(line.trimEnd())
      line = margin + word
    }
  }
  return [...lines, line].filter((line) => line !== "")
}

/** A word that is wider than a line, cut. */
const piecesOf = (word: string, width: number): ReadonlyArray<string> => {
  const pieces: Array<string> = []
  for (let at = 0; at < Math.max(1, word.length); at += width) pieces.push(word.slice(at, at + width))
  return pieces
}

/** Names, and what is said of each beside it, or below where the terminal is narrow. */
const listed = (rows: ReadonlyArray<readonly [name: string, says: string]>, width: number): ReadonlyArray<string> => {
  const column = Math.max(...rows.map(([name]) => name.length)) + 4
  if (column > width / 2) {
    return rows.flatMap(([name, says]) => [...wrapped("  ", 2, name, width), ...wrapped("      ", 6, says, width)])
  }
  return rows.flatMap(([name, says]) => wrapped(`  ${name}`.padEnd(column), column, says, width))
}

const namesOf = ({ isRepeated, names, value }: Option): string => {
  const all = [...names].reverse().join(", ")
  const shown = value === undefined ? "" : ` ${value.kind === "choice" ? value.choices.join(" | ") : value.placeholder}`
  return `${all}${shown}${isRepeated ? " …" : ""}`
}

const optionLines = (option: Option, width: number): ReadonlyArray<string> => [
  ...wrapped("  ", 6, namesOf(option), width),
  ...wrapped("      ", 6, `${option.description}${option.isRequired ? " (required)" : ""}`, width)
]

const usageOf = (spec: Spec): string => {
  const args = spec.arguments.map(({ isOptional, isRepeated, name }) => {
    const shown = `<${name}>${isRepeated ? "…" : ""}`
    return isOptional || isRepeated ? `[${shown}]` : shown
  })
  const command = spec.commands.length > 0 ? ["<command>"] : []
  return [program, ...spec.path, ...command, ...args, "[options]"].join(" ")
}

const leaves = (spec: Spec): ReadonlyArray<Spec> =>
  spec.commands.length === 0 ? [spec] : spec.commands.flatMap(leaves)

/** The begin of a sentence that fits beside a name. */
const summaryOf = ({ description }: Spec, room: number): string =>
  description.length <= room ? description : (/^.*(?=[:;,] )/.exec(description.slice(0, room + 2))?.[0] ?? description)

const commandLines = (spec: Spec, width: number): ReadonlyArray<string> => {
  const all = leaves(spec)
  const nameOf = ({ path }: Spec) => path.slice(spec.path.length).join(" ")
  const column = Math.max(...all.map((command) => nameOf(command).length)) + 4
  return listed(
    all.map((command) => [nameOf(command), summaryOf(command, width - column)]),
    width
  )
}

interface Page {
  readonly width: number
  readonly version: string
  readonly statuses: ReadonlyArray<Status>
  /** What every command takes. */
  readonly builtIn: ReadonlyArray<Option>
  /** Makes the heading of a section. */
  readonly heading: (text: string) => string
}

/** The help of a command. */
export const helpOf = (spec: Spec, { builtIn, heading, statuses, version, width }: Page): string => {
  const options = [...spec.options, ...builtIn]
  const sections: ReadonlyArray<readonly [name: string, lines: ReadonlyArray<string>]> = [
    ["USAGE", wrapped("  ", 6, usageOf(spec), width)],
    ["DESCRIPTION", wrapped("  ", 2, spec.description, width)],
    [
      "ARGUMENTS",
      spec.arguments.length === 0
        ? []
        : listed(
            spec.arguments.map(({ description, name }) => [`<${name}>`, description]),
            width
          )
    ],
    ["OPTIONS", options.flatMap((option) => optionLines(option, width))],
    [
      "STATUS",
      spec.path.length > 0
        ? []
        : listed(
            statuses.map(({ code, example, when }) => [String(code), `${when} (${example})`]),
            width
          )
    ],
    // The last, since it is the longest.
    ["COMMANDS", spec.commands.length === 0 ? [] : commandLines(spec, width)]
  ]
  const text = sections.flatMap(([name, lines]) =>
    lines.length === 0 ? [] : [`${heading(name)}\n\n${lines.join("\n")}`]
  )
  return `${program} ${version}\n\n${text.join("\n\n")}\n`
}
