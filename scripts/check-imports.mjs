// @ts-check
/**
 * Follows the imports of the built package. Nothing that is reachable from a platform-free entry may be Node-only; all
 * other packages must be peers or dependencies, and imported module by module; and no two modules may import each other in a circle.
 */
import { existsSync, readFileSync } from "node:fs"
import { dirname, relative, resolve } from "node:path"
import ts from "typescript"
import { manifest, report, root } from "./layout.mjs"

/** @type {Array<string>} */
const problems = []
const { dependencies = {}, exports: entries, peerDependencies, peerDependenciesMeta } = manifest()
const peers = Object.keys(peerDependencies)
const optional = peers.filter((name) => peerDependenciesMeta[name]?.optional === true)
const known = [...peers, ...Object.keys(dependencies)]

/** @type {Map<string, ReadonlyArray<string>>} */
const importsByFile = new Map()

/**
 * What a built module imports, statically or not.
 *
 * @param {string} file
 */
const importsOf = (file) => {
  const found = importsByFile.get(file)
  if (found !== undefined) return found
  const imports = existsSync(file)
    ? ts.preProcessFile(readFileSync(file, "utf8"), true, true).importedFiles.map(({ fileName }) => fileName)
    : []
  importsByFile.set(file, imports)
  return imports
}

/** @param {string} file @param {string} specifier */
const target = (file, specifier) => (specifier.startsWith(".") ? resolve(dirname(file), specifier) : undefined)

/** @param {string} file */
const short = (file) => relative(root, file)

/**
 * @param {string} file
 * @param {ReadonlyArray<string>} path How we came here.
 * @param {Set<string>} seen
 * @param {boolean} platformFree
 */
const walk = (file, path, seen, platformFree) => {
  if (path.includes(file)) {
    problems.push(`a circle of imports: ${[...path.slice(path.indexOf(file)), file].map(short).join(" → ")}`)
    return
  }
  if (seen.has(file)) return
  seen.add(file)
  const here = [...path, file]
  if (!existsSync(file)) {
    problems.push(
      `${short(file)} does not exist${path.length === 0 ? "" : `, imported by ${short(here.at(-2) ?? "")}`}`
    )
    return
  }
  for (const specifier of importsOf(file)) {
    const next = target(file, specifier)
    if (next !== undefined) {
      walk(next, here, seen, platformFree)
      continue
    }
    const way = here.map(short).join(" → ")
    const [first = "", second = "", ...rest] = specifier.split("/")
    const [name, subpath] = first.startsWith("@") ? [`${first}/${second}`, rest] : [first, [second, ...rest]]
    if (specifier.startsWith("node:")) {
      if (platformFree) problems.push(`${specifier} is reachable from a platform-free entry: ${way}`)
    } else if (!known.includes(name)) {
      problems.push(`${specifier} is neither a peer nor a dependency: ${way}`)
    } else if (platformFree && optional.includes(name)) {
      problems.push(`${specifier}, an optional peer, is reachable from a platform-free entry: ${way}`)
    } else if (subpath.join("/") === "") {
      problems.push(`the barrel of ${name} is imported, use its modules: ${way}`)
    }
  }
}

/** @type {readonly [Set<string>, Set<string>]} */
const [seen, seenByNode] = [new Set(), new Set()]
for (const [subpath, entry] of Object.entries(entries)) {
  if (entry === null || typeof entry === "string") continue
  const isNode = subpath === "./Node"
  walk(resolve(root, entry.default), [], isNode ? seenByNode : seen, !isNode)
}

report(
  "imports",
  [...new Set(problems)],
  `${importsByFile.size} modules, platform-free but for ./Node, without circles`
)
