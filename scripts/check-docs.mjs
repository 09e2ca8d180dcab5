// @ts-check
/**
 * Checks that every export of a public module has a doc comment with a sentence, `@since` and `@category`, and that
 * every public module starts with a doc comment that has `@since`.
 */
import { existsSync, readFileSync } from "node:fs"
import ts from "typescript"
import { allModules, isProgram, packages, report, root } from "./layout.mjs"

/** @type {Array<string>} */
const problems = []
let count = 0

/**
 * The doc comment that ends right before a node, as text.
 *
 * @param {ts.SourceFile} source
 * @param {ts.Node} node
 */
const docsOf = (source, node) => {
  const comments = ts.getLeadingCommentRanges(source.text, node.getFullStart()) ?? []
  const last = comments.at(-1)
  const text = last === undefined ? "" : source.text.slice(last.pos, last.end)
  return text.startsWith("/**") ? text : undefined
}

/** @param {string} docs */
const sentenceOf = (docs) =>
  docs
    .replace(/^\/\*\*|\*\/$/g, "")
    .replace(/^\s*\*/gm, "")
    .split(/^\s*@/m)[0]
    ?.trim() ?? ""

/** @param {string} docs @param {string} tag */
const valueOf = (docs, tag) =>
  new RegExp(`^\\s*(?:/\\*)?\\*+ *@${tag}(?: +(\\S.*?))?\\s*(?:\\*/)?$`, "m").exec(docs)?.[1]

/** @param {string} docs */
const hasSince = (docs) => /^\d+\.\d+\.\d+$/.test(valueOf(docs, "since") ?? "")

/** @param {ts.Statement} statement */
const isExported = (statement) =>
  ts.isExportDeclaration(statement) ||
  (ts.canHaveModifiers(statement) &&
    (ts.getModifiers(statement) ?? []).some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword))

/**
 * The names that an exported statement declares.
 *
 * @param {ts.Statement} statement
 * @param {ts.SourceFile} source
 * @returns {ReadonlyArray<string>}
 */
const namesOf = (statement, source) => {
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.map((declaration) => declaration.name.getText(source))
  }
  if (ts.isExportDeclaration(statement)) {
    const clause = statement.exportClause
    if (clause === undefined) return ["*"]
    return ts.isNamespaceExport(clause) ? [clause.name.text] : clause.elements.map((element) => element.name.text)
  }
  const name = /** @type {{ name?: ts.Node }} */ (/** @type {unknown} */ (statement)).name
  return [name === undefined ? "default" : name.getText(source)]
}

/**
 * @param {ts.SourceFile} source
 * @param {ReadonlyArray<ts.Statement>} statements
 * @param {string} prefix
 */
const check = (source, statements, prefix) => {
  /** @type {Set<string>} */
  const overloads = new Set()
  /**
   * Where each name stands that no sentence describes. A type and a value of one name need one sentence between them.
   *
   * @type {Map<string, string>}
   */
  const undescribed = new Map()
  /** @type {Set<string>} */
  const described = new Set()
  for (const statement of statements) {
    if (!isExported(statement)) continue
    const names = namesOf(statement, source)
    const label = names.map((name) => prefix + name).join(", ")
    const line = source.getLineAndCharacterOfPosition(statement.getStart(source)).line + 1
    const at = `${source.fileName}:${line} ${label}`
    if (ts.isFunctionDeclaration(statement)) {
      // The first signature speaks for all.
      if (overloads.has(label)) continue
      overloads.add(label)
    }
    count += names.length
    // Each name of a list may have its own comment.
    const docs =
      docsOf(source, statement) ??
      (ts.isExportDeclaration(statement) && statement.exportClause && ts.isNamedExports(statement.exportClause)
        ? statement.exportClause.elements.map((element) => docsOf(source, element) ?? "").join("\n") || undefined
        : undefined)
    if (docs === undefined) {
      problems.push(`${at} has no doc comment`)
      continue
    }
    if (sentenceOf(docs) !== "") described.add(label)
    // A name that was described where it was declared, and the customary pair of type ids, speak for themselves.
    else if (!ts.isExportDeclaration(statement) && valueOf(docs, "category") !== "type ids") undescribed.set(label, at)
    if (!hasSince(docs)) problems.push(`${at} lacks @since with a version`)
    if (valueOf(docs, "category") === undefined) problems.push(`${at} lacks @category`)
    if (ts.isModuleDeclaration(statement) && statement.body && ts.isModuleBlock(statement.body)) {
      check(source, statement.body.statements, `${label}.`)
    }
  }
  for (const [label, at] of undescribed) {
    if (!described.has(label)) problems.push(`${at} has no description`)
  }
}

const modules = allModules()
const barrels = [
  "src/index",
  "src/node/index",
  ...packages()
    .filter((folder) => !isProgram(folder))
    .map((folder) => `${folder}src/index`)
]
for (const module of [...modules, ...barrels]) {
  const path = `${root}${module}.ts`
  if (!existsSync(path)) continue
  const source = ts.createSourceFile(`${module}.ts`, readFileSync(path, "utf8"), ts.ScriptTarget.Latest)
  const first = ts.getLeadingCommentRanges(source.text, 0)?.[0]
  const head = first === undefined ? "" : source.text.slice(first.pos, first.end)
  if (!head.startsWith("/**") || sentenceOf(head) === "" || !hasSince(head)) {
    problems.push(`${module}.ts does not start with a doc comment of the module with @since`)
  }
  if (modules.includes(module)) check(source, source.statements, "")
}

report("docs", problems, `${count} exports of ${modules.length} modules are documented`)
