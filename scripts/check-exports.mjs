// @ts-check
/**
 * Checks that the barrels, the public modules and `exports` in package.json agree. `--fix` writes `exports`.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path/posix"
import ts from "typescript"
import { isProgram, manifest, packageModules, packages, publicModules, report, root } from "./layout.mjs"

/** @type {Array<string>} */
const problems = []

/**
 * The modules that a barrel exports as namespaces, as paths in `src` without an extension.
 *
 * @param {string} file
 */
const namespaces = (file) => {
  const path = `${root}src/${file}`
  if (!existsSync(path)) {
    problems.push(`src/${file} does not exist`)
    return []
  }
  const source = ts.createSourceFile(file, readFileSync(path, "utf8"), ts.ScriptTarget.Latest)
  /** @type {Array<string>} */
  const modules = []
  for (const statement of source.statements) {
    const at = `src/${file}:${source.getLineAndCharacterOfPosition(statement.getStart(source)).line + 1}`
    const name =
      ts.isExportDeclaration(statement) && statement.exportClause && ts.isNamespaceExport(statement.exportClause)
        ? statement.exportClause.name.text
        : undefined
    const from =
      ts.isExportDeclaration(statement) && statement.moduleSpecifier && ts.isStringLiteral(statement.moduleSpecifier)
        ? statement.moduleSpecifier.text
        : undefined
    const specifier = from === undefined ? undefined : join(dirname(file), from)
    const module = specifier === undefined ? undefined : /^(\w+\/(\w+))\.js$/.exec(specifier)
    if (name === undefined || !module?.[1]) {
      problems.push(`${at} is not of the form \`export * as X from "./folder/X.js"\``)
      continue
    }
    if (module[2] !== name) problems.push(`${at} exports ${module[2]}.js under another name, ${name}`)
    if (!existsSync(`${root}src/${module[1]}.ts`)) problems.push(`${at} exports ${module[1]}.ts, which does not exist`)
    if (modules.includes(module[1])) problems.push(`${at} exports ${name} twice`)
    modules.push(module[1])
  }
  return modules
}

const barrel = namespaces("index.ts")
const node = namespaces("node/index.ts")

for (const module of barrel) {
  if (module.startsWith("node/")) problems.push(`src/index.ts exports ${module}.ts, which is Node's`)
}
for (const module of publicModules()) {
  // Entries of their own beside the barrel: ./Emulator, ./Promise and ./Blob.
  if (/^(?:emulator|promise|blob)\//.test(module)) continue
  if (!barrel.includes(module) && !node.includes(module)) {
    problems.push(
      `src/${module}.ts is public by its name and folder, but neither src/index.ts nor src/node/index.ts exports it`
    )
  }
}

/** @param {string} module */
const entry = (module) => ({ types: `./dist/${module}.d.ts`, default: `./dist/${module}.js` })
/** @param {string} module */
const nameOf = (module) => module.slice(module.indexOf("/") + 1)

const byName = [...barrel].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
const expected = {
  ".": entry("index"),
  "./Emulator": entry("emulator/Emulator"),
  "./Node": entry("node/index"),
  "./Promise": entry("promise/Promise"),
  "./Blob": entry("blob/Blob"),
  ...Object.fromEntries(byName.map((module) => [`./${nameOf(module)}`, entry(module)])),
  "./package.json": "./package.json",
  "./internal/*": null
}

for (const module of ["emulator/Emulator", "promise/Promise", "blob/Blob"]) {
  if (!existsSync(`${root}src/${module}.ts`)) problems.push(`src/${module}.ts does not exist`)
}

if (process.argv.includes("--fix")) {
  writeFileSync(`${root}package.json`, `${JSON.stringify({ ...manifest(), exports: expected }, null, 2)}\n`)
}

const actual = manifest().exports
for (const subpath of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
  const [want, have] = [/** @type {Record<string, unknown>} */ (expected)[subpath], actual[subpath]]
  if (JSON.stringify(want) === JSON.stringify(have)) continue
  problems.push(
    want === undefined
      ? `package.json exports ${subpath}, which src/index.ts does not`
      : `package.json must export ${subpath} as ${JSON.stringify(want)}: run \`node scripts/check-exports.mjs --fix\``
  )
}

// --- the packages of the workspace --------------------------------------------------------------------------------

/**
 * What a module imports, itself or through modules of its package, that is not its own.
 *
 * @param {string} path @param {Set<string>} [seen]
 * @returns {ReadonlyArray<string>}
 */
const importsOf = (path, seen = new Set()) => {
  if (seen.has(path)) return []
  seen.add(path)
  return [...readFileSync(path, "utf8").matchAll(/^(?:import|export)(?! type\b)[^"]*? from "([^"]+)"/gm)].flatMap(
    ([, specifier = ""]) =>
      specifier.startsWith(".")
        ? importsOf(join(dirname(path), specifier).replace(/\.js$/, ".ts"), seen)
        : [
            specifier
              .split("/")
              .slice(0, specifier.startsWith("@") ? 2 : 1)
              .join("/")
          ]
  )
}

for (const folder of packages()) {
  const before = manifest(folder)
  if (isProgram(folder)) {
    const modules = packageModules(folder)
    if (modules.length > 0)
      problems.push(`${folder} is a program, but ${modules.join(", ")} would be public by its name`)
    continue
  }
  const optional = Object.keys(before.peerDependenciesMeta).filter(
    (peer) => before.peerDependenciesMeta[peer]?.optional
  )
  const modules = packageModules(folder)
  // The barrel loads without the optional peers, so what needs one is an entry of its own.
  const common = modules.filter(
    (name) => !importsOf(`${root}${folder}src/${name}.ts`).some((specifier) => optional.includes(specifier))
  )
  const text = existsSync(`${root}${folder}src/index.ts`) ? readFileSync(`${root}${folder}src/index.ts`, "utf8") : ""
  const exported = [...text.matchAll(/^export \* as (\w+) from "\.\/(\w+)\.js"$/gm)].map(([, name, file]) =>
    name === file ? name : `${name} (of ${file}.js)`
  )
  if (JSON.stringify(exported) !== JSON.stringify(common)) {
    problems.push(
      `${folder}src/index.ts must export, in this order, ${common.join(", ")}; it exports ${exported.join(", ")}`
    )
  }
  const wanted = {
    ".": entry("index"),
    ...Object.fromEntries(modules.map((name) => [`./${name}`, entry(name)])),
    "./package.json": "./package.json",
    "./internal/*": null
  }
  if (process.argv.includes("--fix")) {
    writeFileSync(`${root}${folder}package.json`, `${JSON.stringify({ ...before, exports: wanted }, null, 2)}\n`)
  } else if (JSON.stringify(before.exports) !== JSON.stringify(wanted)) {
    problems.push(`${folder}package.json lacks entries: run \`node scripts/check-exports.mjs --fix\``)
  }
}

report("exports", problems, `${Object.keys(actual).length} entries agree with ${barrel.length} namespaces`)
