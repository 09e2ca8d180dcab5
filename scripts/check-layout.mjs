// @ts-check
/**
 * Checks the layout of the sources: ARCHITECTURE.md names every file of `src`, and of a package's, with its subject and no other, and no two files
 * import each other in a circle, by types neither. Only a public contract and its body know each other: what is internal may
 * take types from it.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, relative, resolve } from "node:path"
import ts from "typescript"
import { packages, report, root } from "./layout.mjs"

/** @type {Array<string>} */
const problems = []

/** The sources, as paths in the package. */
const files = ["", ...packages()]
  .flatMap((folder) => readdirSync(`${root}${folder}src`, { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
  .map((entry) => relative(root, resolve(entry.parentPath, entry.name)).replaceAll("\\", "/"))
  .sort()

// --- ARCHITECTURE.md ----------------------------------------------------------------------------------------------

/** Files by path, with what is said of them: under a heading that names a folder, a list of its files. @type {Map<string, string>} */
const described = new Map()
let folder = ""
for (const line of readFileSync(`${root}ARCHITECTURE.md`, "utf8").split("\n")) {
  const heading = /^#+ .*?`((?:packages\/\w+\/)?src[\w/]*)\/?`/.exec(line)
  if (heading?.[1] !== undefined) folder = heading[1].replace(/\/$/, "")
  else if (/^#/.test(line)) folder = ""
  const item = folder === "" ? null : /^- `([\w/]+\.ts)`:? *(.*)$/.exec(line)
  if (item?.[1] !== undefined) described.set(`${folder}/${item[1]}`, item[2] ?? "")
}
for (const file of files) {
  const subject = described.get(file)
  if (subject === undefined) problems.push(`ARCHITECTURE.md does not name ${file}`)
  else if (subject.length < 10) problems.push(`ARCHITECTURE.md does not say what ${file} is about`)
}
for (const file of described.keys()) {
  if (!files.includes(file)) problems.push(`ARCHITECTURE.md names ${file}, which does not exist`)
}

// --- circles ------------------------------------------------------------------------------------------------------

/** @param {string} file */
const isInternal = (file) => /(?:^|\/)internal\//.test(file)

/**
 * What a file imports of `src`, without the types that what is internal takes from a public contract.
 *
 * @param {string} file
 * @returns {ReadonlyArray<string>}
 */
const importsOf = (file) => {
  const source = ts.createSourceFile(file, readFileSync(`${root}${file}`, "utf8"), ts.ScriptTarget.Latest)
  return source.statements.flatMap((statement) => {
    const isImport = ts.isImportDeclaration(statement)
    if (!isImport && !ts.isExportDeclaration(statement)) return []
    const specifier = statement.moduleSpecifier
    if (specifier === undefined || !ts.isStringLiteral(specifier) || !specifier.text.startsWith(".")) return []
    const target = relative(root, resolve(root, dirname(file), specifier.text)).replace(/\.js$/, ".ts")
    const clause = isImport ? statement.importClause : undefined
    const names = clause?.namedBindings
    const onlyTypes = isImport
      ? clause?.isTypeOnly === true ||
        (clause?.name === undefined &&
          names !== undefined &&
          ts.isNamedImports(names) &&
          names.elements.every((element) => element.isTypeOnly))
      : statement.isTypeOnly
    return onlyTypes && isInternal(file) && !isInternal(target) ? [] : [target]
  })
}

const graph = new Map(files.map((file) => [file, importsOf(file)]))
/** @type {Set<string>} */
const done = new Set()
/** @param {string} file @param {ReadonlyArray<string>} path */
const walk = (file, path) => {
  if (path.includes(file)) {
    problems.push(`a circle of imports: ${[...path.slice(path.indexOf(file)), file].join(" → ")}`)
    return
  }
  if (done.has(file)) return
  for (const target of graph.get(file) ?? []) {
    if (!existsSync(`${root}${target}`)) problems.push(`${file} imports ${target}, which does not exist`)
    else walk(target, [...path, file])
  }
  done.add(file)
}
for (const file of files) walk(file, [])

report("layout", [...new Set(problems)], `${files.length} files, each with its subject, and no circles`)
