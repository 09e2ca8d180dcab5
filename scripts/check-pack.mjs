// @ts-check
/**
 * Packs the built packages and uses them as a stranger would: publint and attw read the tarball, then it is installed next
 * to its peers, every entry is imported by Node and by TypeScript, and what is private must be refused.
 */
import { execFileSync } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { blocksIn, documents, packageDocuments } from "./blocks.mjs"
import { isProgram, manifest, packages, root } from "./layout.mjs"

const { devDependencies, name } = manifest()
const versions = Object.assign({}, devDependencies, ...packages().map((folder) => manifest(folder).devDependencies))

/** @param {string} text */
const say = (text) => console.log(`pack: ${text}`)

/**
 * Runs a program to its end; its output is returned, and printed when it fails.
 *
 * @param {string} command
 * @param {ReadonlyArray<string>} args
 * @param {string} cwd
 */
const run = (command, args, cwd) => {
  try {
    return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
  } catch (cause) {
    const { stderr, stdout } = /** @type {{ stdout: string, stderr: string }} */ (cause)
    throw new Error(`${command} ${args.join(" ")}\n${stdout}${stderr}`, { cause })
  }
}

/** @param {string} tool @param {ReadonlyArray<string>} args @param {string} cwd */
const runTool = (tool, args, cwd) => run(join(root, "node_modules", ".bin", tool), args, cwd)

/** @param {unknown} condition @param {string} message @returns {asserts condition} */
const assert = (condition, message) => {
  if (!condition) throw new Error(message)
}

/** @param {string} folder */
const filesIn = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name))

/** The version of a peer that this repository is built with. @param {string} peer */
const pinned = (peer) => `${peer}@${versions[peer]}`

/** @param {ReadonlyArray<string>} packages @param {string} cwd */
const install = (packages, cwd) =>
  run("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline", ...packages], cwd)

/** @param {string} folder */
const consume = (folder) => {
  mkdirSync(folder)
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }))
}

/**
 * Imports entries by Node; `refused` must not be importable.
 *
 * @param {ReadonlyArray<string>} specifiers
 * @param {ReadonlyArray<string>} refused
 * @param {string} folder
 */
const load = (specifiers, refused, folder) => {
  writeFileSync(
    join(folder, "load.js"),
    `for (const specifier of ${JSON.stringify(specifiers)}) {
  await import(specifier)
}
for (const specifier of ${JSON.stringify(refused)}) {
  const code = await import(specifier).then(() => "it was imported", (error) => error.code)
  if (code !== "ERR_PACKAGE_PATH_NOT_EXPORTED") throw new Error(specifier + " must be refused: " + code)
}
`
  )
  run(process.execPath, ["load.js"], folder)
}

/**
 * What the compiler says of some files.
 *
 * @param {ReadonlyArray<string>} files
 * @param {Record<string, unknown>} options
 * @param {string} folder
 */
const complaints = (files, options, folder) => {
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { target: "ES2022", strict: true, noEmit: true, ...options }, files })
  )
  try {
    runTool("tsc", ["-p", ".", "--pretty", "false"], folder)
    return []
  } catch (error) {
    return String(error).split("\n")
  }
}

/**
 * Compiles a program that imports every entry; only what is wrong with our declarations and in that program counts.
 *
 * @param {ReadonlyArray<string>} specifiers
 * @param {Record<string, unknown>} options
 * @param {string} folder
 */
const compile = (specifiers, options, folder) => {
  const lines = specifiers.map((specifier, i) => `import * as module${i} from "${specifier}"`)
  const list = specifiers.map((_, i) => `module${i}`).join(", ")
  writeFileSync(join(folder, "consumer.ts"), `${lines.join("\n")}\nexport const modules = [${list}] as const\n`)
  const ours = complaints(["consumer.ts"], { skipLibCheck: false, ...options }, folder).filter((line) =>
    /^(?:consumer\.ts|node_modules\/effect-runpod|error )/.test(line)
  )
  assert(ours.length === 0, `the declarations do not compile with ${JSON.stringify(options)}:\n${ours.join("\n")}`)
}

/** A document's blocks but for its tests, which need what is installed with them. @param {string} document */
const programsIn = (document) => blocksIn(document).filter(({ name }) => !name.endsWith(".test.ts"))

/** The package of the workspace that a document needs. @param {string} document */
const packageOf = (document) =>
  packages().find((folder) => blocksIn(document).some(({ text }) => text.includes(`from "${manifest(folder).name}`)))

/**
 * Compiles the programs of documents as the documents tell a reader to.
 *
 * @param {ReadonlyArray<string>} all
 * @param {string} folder
 */
const compileDocuments = (all, folder) => {
  const [, settings = ""] =
    /^```json\n(\{ "compilerOptions".*)\n```$/m.exec(readFileSync(`${root}README.md`, "utf8")) ?? []
  const { compilerOptions } = JSON.parse(settings)
  const files = all.flatMap((document) =>
    programsIn(document).map(({ name, text }) => {
      const file = join(document.replaceAll("/", "-"), name)
      mkdirSync(join(folder, dirname(file)), { recursive: true })
      writeFileSync(join(folder, file), text)
      return file
    })
  )
  const found = complaints(files, compilerOptions, folder)
  assert(found.length === 0, `the documents do not compile:\n${found.join("\n")}`)
  return files.length
}

/**
 * Packs what was built in a folder: the tarball, and what is in it.
 *
 * @param {string} folder In the root, with a slash at its end; "" for the root.
 * @param {RegExp} belongs What may be in it.
 * @param {ReadonlyArray<string>} needed What must be.
 */
const pack = (folder, belongs, needed) => {
  assert(existsSync(`${root}${folder}dist`), "there is nothing to pack: npm run build")
  const packed = JSON.parse(
    run("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", temporary], `${root}${folder}`)
  )
  const { filename, files, size } = packed[0]
  /** @type {ReadonlyArray<string>} */
  const paths = files.map((/** @type {{ path: string }} */ file) => file.path)
  for (const path of needed) assert(paths.includes(path), `${path} is missing from the package`)
  const stray = paths.filter((path) => !belongs.test(path))
  assert(stray.length === 0, `these files do not belong into the package: ${stray.join(", ")}`)
  say(`${filename}: ${paths.length} files, ${Math.ceil(size / 1024)} KiB`)

  const tarball = join(temporary, filename)
  runTool("publint", ["run", tarball, "--strict"], temporary)
  if (folder !== "" && isProgram(folder)) return tarball
  runTool(
    "attw",
    [tarball, "--profile", "esm-only", "--no-definitely-typed", "--exclude-entrypoints", "./internal/*"],
    temporary
  )
  say("publint and attw have no complaints (ESM only)")
  return tarball
}

/** @param {string} installed @param {string} package_ */
const privatesOf = (installed, package_) => {
  const names = readdirSync(join(installed, "dist", "internal"), { encoding: "utf8", recursive: true })
    .filter((file) => file.endsWith(".js"))
    .map((file) => file.replaceAll("\\", "/"))
  assert(names.length > 0, "dist/internal is empty")
  return names.map((file) => `${package_}/internal/${file}`)
}

/** The entries of a package that programs import. @param {string} folder */
const specifiersOf = (folder) => {
  const { exports: entries, name } = manifest(folder)
  return Object.entries(entries).flatMap(([subpath, entry]) =>
    entry === null || typeof entry === "string" ? [] : [name + subpath.slice(1)]
  )
}

/** The peers of a package but for the core, and which of them a user may do without. @param {string} folder */
const peersOf = (folder) => {
  const { peerDependencies, peerDependenciesMeta = {} } = manifest(folder)
  const peers = Object.keys(peerDependencies).filter((peer) => peer !== name)
  return { peers, optional: peers.filter((peer) => peerDependenciesMeta[peer]?.optional === true) }
}

/**
 * Loads a library of the workspace where everything is installed: first without its optional peers, then with all.
 *
 * @param {string} folder @param {string} place
 */
const loadLibrary = (folder, place) => {
  const { name: own } = manifest(folder)
  const { optional } = peersOf(folder)
  const away = join(place, "away")
  for (const peer of optional) {
    mkdirSync(dirname(join(away, peer)), { recursive: true })
    renameSync(join(place, "node_modules", peer), join(away, peer))
  }
  load([own], privatesOf(join(place, "node_modules", own), own), place)
  for (const peer of optional) renameSync(join(away, peer), join(place, "node_modules", peer))
  const specifiers = specifiersOf(folder)
  load(specifiers, [], place)
  say(`${own} loads beside ${name} without ${optional.join(", ")}; all ${specifiers.length} entries load`)
}

/**
 * What programs of some documents import that is none of these packages: a transport, a database's driver, another client.
 *
 * @param {ReadonlyArray<string>} documents @param {ReadonlyArray<string>} packages
 */
const broughtBy = (documents, packages) => {
  const texts = documents.flatMap((document) => programsIn(document).map(({ text }) => text))
  return Object.keys(versions).filter(
    (other) => !packages.includes(other) && texts.some((text) => new RegExp(`from "${other}["/]`).test(text))
  )
}

/**
 * Installs a program by itself, and runs each of its commands.
 *
 * @param {string} folder
 */
const checkProgram = (folder) => {
  const { bin = {}, name: own, version } = manifest(folder)
  const tarball = pack(folder, /^dist\/|^(?:package\.json|README\.md|LICENSE)$/, [
    "README.md",
    "LICENSE",
    "dist/licenses.txt"
  ])
  const place = join(temporary, own)
  consume(place)
  install([tarball], place)
  const installed = readdirSync(join(place, "node_modules")).filter((entry) => !entry.startsWith("."))
  assert(installed.length === 1, `${own} must need no other package, but these were installed: ${installed.join(", ")}`)
  for (const command of Object.keys(bin)) {
    const printed = run("npx", ["--no-install", command, "--version"], place).trim()
    assert(printed === version, `${command} --version prints ${printed}`)
    // Loads the program itself, which --version does not.
    assert(
      run("npx", ["--no-install", command, "completions", "bash"], place).includes(
        command === "erp" ? "effect-runpod" : command
      ),
      "no completions"
    )
  }
  say(`${own} runs as ${Object.keys(bin).join(" and ")}, without any other package`)
}

const temporary = mkdtempSync(join(tmpdir(), "effect-runpod-pack-"))
try {
  const tarball = pack("", /^(?:dist|docs|src)\/|^(?:package\.json|README\.md|CHANGELOG\.md|LICENSE)$/, [
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "dist/index.js",
    "dist/index.d.ts",
    "src/index.ts"
  ])

  const specifiers = specifiersOf("")
  const node = specifiers.filter((specifier) => specifier.endsWith("/Node"))
  // Without Node, but not without the SDK: they load where it is installed.
  const blob = specifiers.filter((specifier) => specifier.endsWith("/Blob"))
  const platformFree = specifiers.filter((specifier) => !node.includes(specifier) && !blob.includes(specifier))
  const { optional, peers } = peersOf("")

  const plain = join(temporary, "plain")
  consume(plain)
  install([tarball, ...peers.filter((peer) => !optional.includes(peer)).map(pinned)], plain)
  const installed = join(plain, "node_modules", name)
  for (const peer of optional) {
    assert(!existsSync(join(plain, "node_modules", peer)), `${peer} is optional, but was installed`)
  }
  const copies = filesIn(join(plain, "node_modules")).filter((file) =>
    /[\\/]node_modules[\\/]effect[\\/]package\.json$/.test(file)
  )
  assert(copies.length === 1, `${copies.length} copies of effect were installed`)
  for (const map of filesIn(join(installed, "dist")).filter((file) => file.endsWith(".map"))) {
    for (const source of JSON.parse(readFileSync(map, "utf8")).sources) {
      assert(existsSync(resolve(dirname(map), source)), `${map} refers to ${source}, which is not in the package`)
    }
  }
  load(platformFree, [...privatesOf(installed, name), `${name}/dist/index.js`, `${name}/src/index.ts`], plain)
  say(`${platformFree.length} platform-free entries load without ${optional.join(", ")}; private modules are refused`)
  writeFileSync(
    join(plain, "promise.mjs"),
    `import { layerRunPod } from "${name}/Emulator"
import { fromLayer } from "${name}/Promise"
const client = fromLayer(layerRunPod({ endpoints: { echo: {} } }))
const { n } = await client.endpoint("echo").call({ n: 1 })
await client.close()
if (n !== 1) throw new Error("the emulator gave " + n)
`
  )
  run(process.execPath, ["promise.mjs"], plain)
  say("a program of plain JavaScript calls the emulator through ./Promise")
  const lib = ["ES2022", "DOM", "DOM.Iterable"]
  compile(platformFree, { module: "nodenext", lib, types: [] }, plain)
  compile(platformFree, { module: "esnext", moduleResolution: "bundler", lib, types: [] }, plain)
  say("their declarations compile under nodenext and bundler resolution, without the types of Node")

  const libraries = packages().filter((folder) => !isProgram(folder))
  const tarballs = libraries.map((folder) =>
    pack(folder, /^(?:dist|src)\/|^(?:package\.json|README\.md|LICENSE)$/, [
      "README.md",
      "LICENSE",
      "dist/index.js",
      "dist/index.d.ts",
      "src/index.ts"
    ])
  )
  const all = [...documents(), ...packageDocuments()]
  const cores = documents().filter((document) => packageOf(document) === undefined)
  const strangers = broughtBy(cores, [name, ...peers])
  assert(strangers.length === 0, `the core's documents need more than its peers: ${strangers.join(", ")}`)
  const allPeers = [...new Set(["", ...libraries].flatMap((folder) => peersOf(folder).peers))]
  const brought = broughtBy(all, [name, ...libraries.map((folder) => manifest(folder).name), ...allPeers])

  const full = join(temporary, "full")
  consume(full)
  install([tarball, ...tarballs, ...[...allPeers, "@types/node", ...brought].map(pinned)], full)
  load(specifiers, [], full)
  for (const folder of libraries) loadLibrary(folder, full)
  const types = { module: "nodenext", lib: ["ES2022"], types: ["node"], exactOptionalPropertyTypes: true }
  compile([...specifiers, ...libraries.flatMap(specifiersOf)], types, full)
  say(`all entries compile with ${allPeers.join(", ")}`)
  say(`so do ${compileDocuments(all, full)} blocks of the documents, with the settings that the README gives`)

  for (const folder of packages().filter(isProgram)) checkProgram(folder)
} catch (error) {
  console.error(`pack: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
