import process from "node:process"
import { stripVTControlCharacters } from "node:util"

const headings = new Set(["USAGE", "DESCRIPTION", "ARGUMENTS", "OPTIONS", "COMMANDS"])

/** What `@effect/cli` says of an option or argument that its name, or its absence from the usage's brackets, says as well. */
const isSaid = (line: string): boolean =>
  /^(?:A user-defined piece of text|A true or false value|An integer|A floating point number|This setting is optional)\.$|^One of the following: /.test(
    line
  )

/** Its lines have the whole usage of each command, all as wide as the widest. */
const commandsOf = (lines: ReadonlyArray<string>): ReadonlyArray<string> => {
  const commands = lines.flatMap((line) => {
    const [, name, description] = /^ {2}- ((?:[a-z][\w-]* ?)+?)(?: [[(<-].*?| *) {2,}(\S.*?)\s*$/.exec(line) ?? []
    return name === undefined || description === undefined ? [] : [{ name, description }]
  })
  const width = Math.max(...commands.map(({ name }) => name.length))
  return commands.map(({ description, name }) => `  ${name.padEnd(width)}  ${description}`)
}

const optionsOf = (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.flatMap((line) => {
    const text = stripVTControlCharacters(line).trim()
    if (text === "" || isSaid(text)) return []
    return [line.startsWith(" ") ? `      ${line.trim()}` : `  ${line}`]
  })

/** The help of a command as `@effect/cli` writes it, in a quarter of its lines, none of which is wider than a screen; else the text as it is. */
const legible = (text: string): string => {
  const lines = text.split("\n")
  const starts = lines.flatMap((line, i) => (headings.has(stripVTControlCharacters(line)) ? [i] : []))
  const [first] = starts
  if (first === undefined) return text
  const sections = starts.map((start, i) => {
    const [heading = "", ...body] = lines.slice(start, starts[i + 1])
    const name = stripVTControlCharacters(heading)
    const of =
      name === "COMMANDS" ? commandsOf(body) : name === "DESCRIPTION" || name === "USAGE" ? body : optionsOf(body)
    return [heading, of.join("\n").replace(/^\n+|\n+$/g, "")].join("\n\n")
  })
  return `${[lines.slice(0, first).join("\n").trimEnd(), ...sections].join("\n\n")}\n`
}

/** A text of `@effect/cli`, which always has colours, as a stream is to get it: they are for terminals, and for those who want them. */
export const plain = (text: string, { isTTY }: { readonly isTTY?: boolean }): string => {
  const help = legible(text)
  return isTTY === true && (process.env["NO_COLOR"] ?? "") === "" ? help : stripVTControlCharacters(help)
}
