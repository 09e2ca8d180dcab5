// @ts-check
/** The code that documents hold. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { allModules, packages, root } from "./layout.mjs"

/**
 * A block of TypeScript. When its first line is a comment with a file's name that is its name, and other blocks of the
 * document can import it.
 *
 * @typedef {{ readonly name: string, readonly line: number, readonly text: string }} Block
 */

/**
 * @param {string} text
 * @returns {Array<Block>}
 */
export const blocksOf = (text) =>
  [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match, index) => {
    const [, code = ""] = match
    const line = text.slice(0, match.index).split("\n").length
    return { name: /^\/\/ ([\w.-]+\.ts)\n/.exec(code)?.[1] ?? `block-${index + 1}.ts`, line, text: code }
  })

/** The documents, as paths in the package. */
export const documents = () => [
  ...["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].filter((file) => existsSync(`${root}${file}`)),
  ...(existsSync(`${root}docs`) ? readdirSync(`${root}docs`) : [])
    .filter((file) => file.endsWith(".md"))
    .map((file) => `docs/${file}`)
]

/** The documents of the workspace's packages. */
export const packageDocuments = () => packages().map((folder) => `${folder}README.md`)

/**
 * A document's blocks.
 *
 * @param {string} file
 */
export const blocksIn = (file) => blocksOf(readFileSync(`${root}${file}`, "utf8"))

/**
 * The blocks in the doc comments of a public module.
 *
 * @param {string} file
 */
const blocksInComments = (file) =>
  // Lines keep their numbers.
  blocksOf(readFileSync(`${root}${file}`, "utf8").replace(/^ ?\* ?/gm, ""))

/** Everything that documents and doc comments show, by file. */
export const allBlocks = () => [
  ...[...documents(), ...packageDocuments()].map((file) => ({ file, blocks: blocksIn(file) })),
  ...allModules()
    .map((module) => `${module}.ts`)
    .map((file) => ({ file, blocks: blocksInComments(file) }))
]

/**
 * The rows of the table below a heading, each the texts of its cells.
 *
 * @param {string} text
 * @param {string} heading
 */
export const tablesBelow = (text, heading) => {
  const start = text.split("\n").findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, "") === heading)
  if (start < 0) throw new Error(`there is no heading "${heading}"`)
  const rest = text.split("\n").slice(start + 1)
  const end = rest.findIndex((line) => /^#+ /.test(line))
  /** @type {Array<{ head: ReadonlyArray<string>, rows: Array<ReadonlyArray<string>> }>} */
  const tables = []
  let isTable = false
  for (const line of end < 0 ? rest : rest.slice(0, end)) {
    const cells = line.startsWith("|")
      ? line
          .slice(1, line.lastIndexOf("|"))
          .split(/(?<!\\)\|/)
          .map((cell) => cell.trim().replaceAll("\\|", "|"))
      : undefined
    if (cells === undefined) isTable = false
    else if (!isTable) {
      tables.push({ head: cells, rows: [] })
      isTable = true
    } else if (!/^:?-+:?$/.test(cells[0] ?? "")) tables.at(-1)?.rows.push(cells)
  }
  return tables
}
