// @ts-check
/**
 * Follows the imports of the built packages. Nothing that is reachable from a platform-free entry may be Node-only; all
 * other packages must be peers or dependencies, and imported module by module; and no two modules may import each other in a circle.
 */
import { existsSync, readFileSync } from "node:fs"
import { dirname, relative, resolve } from "node:path"
import ts from "typescript"
import { blobPeers, isProgram, lazyPeers, manifest, packages, report, root } from "./layout.mjs"

/** @type {Array<string>} */
const problems = []

/** The peers and dependencies of the package at hand. @type {ReadonlyArray<string>} */
let known = []
/** Its optional peers. @type {ReadonlyArray<string>} */
let optional = []

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
 * @param {RegExp} [allowed] Optional peers that the entry may need.
 */
const walk = (file, path, seen, platformFree, allowed) => {
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
      walk(next, here, seen, platformFree, allowed)
      continue
    }
    const way = here.map(short).join(" → ")
    const [first = "", second = "", ...rest] = specifier.split("/")
    const [name, subpath] = first.startsWith("@") ? [`${first}/${second}`, rest] : [first, [second, ...rest]]
    if (specifier.startsWith("node:")) {
      // What begins with Node is an entry of its own for it.
      const isOfPackage = short(file).startsWith("packages/") && !/\/dist\/Node\w*\.js$/.test(file)
      if (platformFree || isOfPackage) problems.push(`${specifier} is reachable from a platform-free entry: ${way}`)
    } else if (!known.includes(name)) {
      problems.push(`${specifier} is neither a peer nor a dependency: ${way}`)
    } else if (allowed?.test(specifier)) {
      continue
    } else if (lazyPeers.test(specifier)) {
      if (new RegExp(`from "${specifier}"`).test(readFileSync(file, "utf8")))
        problems.push(`${specifier}, an optional peer, is imported before it is used: ${way}`)
    } else if (platformFree && optional.includes(name)) {
      problems.push(`${specifier}, an optional peer, is reachable from a platform-free entry: ${way}`)
    } else if (subpath.join("/") === "") {
      problems.push(`the barrel of ${name} is imported, use its modules: ${way}`)
    }
  }
}

for (const folder of ["", ...packages().filter((folder) => !isProgram(folder))]) {
  const { dependencies = {}, exports: entries, peerDependencies, peerDependenciesMeta } = manifest(folder)
  const peers = Object.keys(peerDependencies)
  known = [...peers, ...Object.keys(dependencies)]
  optional = peers.filter((name) => peerDependenciesMeta[name]?.optional === true)
  // What loads without the optional peers: the barrel with all that is in it, of the root everything but its entry for Node.
  const isFree = (/** @type {string} */ subpath) => (folder === "" ? subpath !== "./Node" : subpath === ".")
  /** @type {readonly [Set<string>, Set<string>, Set<string>]} */
  const [seen, seenByOthers, seenByBlob] = [new Set(), new Set(), new Set()]
  for (const [subpath, entry] of Object.entries(entries)) {
    if (entry === null || typeof entry === "string") continue
    const file = resolve(root, folder, entry.default)
    if (folder === "" && subpath === "./Blob") walk(file, [], seenByBlob, true, blobPeers)
    else walk(file, [], isFree(subpath) ? seen : seenByOthers, isFree(subpath))
  }
}

report(
  "imports",
  [...new Set(problems)],
  `${importsByFile.size} modules, platform-free but for ./Node, without circles`
)
