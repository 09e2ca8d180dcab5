// @ts-check
/**
 * Checks what documents say against the sources: every block of TypeScript compiles, in documents and in doc comments,
 * links lead somewhere (from the package, too), and the tables of options, errors and operations name what there is, no more and no less.
 */
import { existsSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import ts from "typescript"
import { allBlocks, documents, packageDocuments, tablesBelow } from "./blocks.mjs"
import { manifest, report, root } from "./layout.mjs"

/** @type {Array<string>} */
const problems = []

/** Files that exist only here, by path. @type {Map<string, string>} */
const files = new Map()
/** Where the code in them comes from, and at which line of that it starts. @type {Map<string, { file: string, line: number }>} */
const origins = new Map()

/** @param {string} path @param {string} text @param {{ file: string, line: number }} origin */
const add = (path, text, origin) => {
  if (files.has(path)) problems.push(`${origin.file}:${origin.line} there are two blocks of this name`)
  files.set(path, text)
  origins.set(path, origin)
}

// --- blocks -------------------------------------------------------------------------------------------------------

const folder = `${root}.blocks/`
allBlocks().forEach(({ blocks, file }, index) => {
  for (const { line, name, text } of blocks) add(`${folder}${index}/${name}`, text, { file, line })
})
const count = files.size

// --- the table of those who come from Python ----------------------------------------------------------------------

const migration = { file: "docs/migrating.md", heading: "Coming from a synchronous Python client" }
const migrationText = readFileSync(`${root}${migration.file}`, "utf8")
const prelude = `import { HttpClient, HttpRouter } from "@effect/platform"
import type { JobError } from "effect-runpod"
import { Batch, Endpoint, type Job, type JobHandle, RateLimiter, RateLimits, RetryPolicy, Webhooks } from "effect-runpod"
import { NodeRunPod, NodeWebhooks } from "effect-runpod/Node"
import { Effect, Logger, LogLevel, Schedule } from "effect"
declare const endpoint: Endpoint.Endpoint<object, unknown>
declare const job: JobHandle.JobHandle<unknown>
declare const input: object
declare const inputs: ReadonlyArray<object>
declare const jobId: string
declare const jobIds: ReadonlyArray<string>
declare const url: string
declare const show: (job: Job.Job) => Effect.Effect<void>
declare const program: Effect.Effect<void, JobError.JobError>
`
const preludeLines = prelude.split("\n").length
const migrationLine = migrationText.split("\n").findIndex((line) => line.endsWith(`# ${migration.heading}`)) + 1
tablesBelow(migrationText, migration.heading).forEach(({ rows }) => {
  rows.forEach(([, here = ""], index) => {
    const codes = [...here.matchAll(/`([^`]*)`/g)].map(([, code = ""]) => code).filter((code) => /[.(]/.test(code))
    if (codes.length === 0) return
    add(
      `${folder}migration-${index + 1}.ts`,
      `${prelude}${codes.map((code, n) => `export const code${n + 1} = () => (${code})`).join("\n")}\n`,
      // All lines of the file stand for the row.
      { file: migration.file, line: migrationLine + 5 + index - preludeLines }
    )
  })
})

// --- the tables that name everything ------------------------------------------------------------------------------

const backticked = (/** @type {string} */ cell) => [...cell.matchAll(/`([^`]*)`/g)].map(([, code = ""]) => code)
/** What a column names, in code. @param {ReadonlyArray<ReadonlyArray<string>>} rows @param {number} column */
const namesIn = (rows, column) => rows.flatMap((cells) => backticked(cells[column] ?? ""))

/**
 * Tables by document, heading and the text of their first cell, and the type whose members a column names, the first if no other.
 *
 * @type {ReadonlyArray<{ file: string, heading: string, head: string, type: string, column?: number }>}
 */
const complete = [
  { file: "docs/errors.md", heading: "Of a request", head: "`RunPodError`", type: `RunPodError.RunPodError["_tag"]` },
  { file: "docs/errors.md", heading: "Of a job", head: "`JobError`", type: `JobError.JobError["_tag"]` },
  {
    file: "docs/limits-and-retries.md",
    heading: "Operations",
    head: "operation",
    type: "Extract<keyof RunPod.Service, string>"
  },
  {
    file: "docs/limits-and-retries.md",
    heading: "Retries",
    head: "`RetryPolicy.make`",
    type: "keyof RetryPolicy.Options"
  },
  { file: "docs/configuration.md", heading: "Configuration", head: "option", type: "keyof NodeRunPod.Options" },
  {
    file: "docs/waiting.md",
    heading: "Of a submit",
    head: "option",
    type: "keyof Endpoint.RunOptions | Exclude<keyof Endpoint.CallOptions, keyof WaitOptions.WaitOptions>"
  },
  { file: "docs/waiting.md", heading: "Of a wait", head: "option", type: "keyof WaitOptions.WaitOptions" },
  {
    file: "docs/batches.md",
    heading: "Options",
    head: "option of a batch",
    type: "Exclude<keyof Batch.Options<never>, keyof Endpoint.RunOptions>"
  },
  { file: "docs/cost.md", heading: "Options", head: "option of `Cost`", type: "keyof Cost.Options" },
  { file: "docs/cost.md", heading: "The numbers", head: "number", type: `Exclude<keyof Cost.Report, "currency">` },
  { file: "docs/batch-api.md", heading: "Operations", head: "operation", type: "keyof BatchApi.Service" },
  {
    file: "docs/webhooks.md",
    heading: "What an attacker can try",
    head: "what an attacker can try",
    type: `WebhookError.WebhookError["_tag"]`,
    column: 2
  },
  {
    file: "docs/webhooks.md",
    heading: "Options",
    head: "option",
    type: `keyof Webhooks.BaseOptions | "secret" | "keys"`
  },
  { file: "docs/blob.md", heading: "Layers", head: "option", type: "keyof Blob.Options" },
  {
    file: "docs/blob.md",
    heading: "Large inputs and outputs",
    head: "option of `withUploads`",
    type: "keyof Blob.WithUploadsOptions"
  },
  { file: "docs/models.md", heading: "A model", head: "option", type: "keyof RunPodLanguageModel.Options" },
  { file: "docs/models.md", heading: "Errors", head: "`ModelError`", type: `ModelError.ModelError["_tag"]` },
  { file: "docs/emulator.md", heading: "Options", head: "option", type: "keyof Emulator.Options" },
  { file: "docs/emulator.md", heading: "The OpenAI route", head: "option", type: "keyof Emulator.handler.VllmOptions" },
  {
    file: "docs/emulator.md",
    heading: "Load-balancing endpoints",
    head: "option",
    type: "keyof Emulator.LoadBalancerOptions"
  },
  {
    file: "docs/emulator.md",
    heading: "Real workers",
    head: "option of `externalWorkers`",
    type: "keyof Emulator.ExternalWorkers"
  },
  { file: "docs/emulator.md", heading: "Faults", head: "fault", type: "keyof typeof Emulator.Fault" }
]
const typesPath = `${folder}tables.ts`
add(
  typesPath,
  `import type { Batch, BatchApi, Cost, Endpoint, JobError, RetryPolicy, RunPod, RunPodError, WaitOptions, WebhookError, Webhooks } from "effect-runpod"
import type * as Blob from "effect-runpod/Blob"
import type * as Emulator from "effect-runpod/Emulator"
import type { NodeRunPod } from "effect-runpod/Node"
import type { ModelError, RunPodLanguageModel } from "effect-runpod-ai"
${complete.map(({ type }, index) => `export type Table${index} = ${type}`).join("\n")}\n`,
  { file: "scripts/check-code.mjs", line: 0 }
)

// --- links --------------------------------------------------------------------------------------------------------

/** The anchor of a heading, as GitHub makes it. @param {string} heading */
const anchorOf = (heading) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-")

/** The anchors of a document. @param {string} path */
const anchorsIn = (path) =>
  [...readFileSync(path, "utf8").matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => anchorOf(heading))

const { files: packed, repository } = manifest()
/** Where the repository shows its files. */
const online = new RegExp(`^${repository.url.replace(/^git\+|\.git$/g, "")}/(?:blob|tree)/main/`)
/** Whether the package has a file. @param {string} path */
const isPacked = (path) => packed.some((entry) => path === entry || path.startsWith(`${entry}/`))

for (const file of [...documents(), ...packageDocuments()]) {
  for (const [, target = ""] of readFileSync(`${root}${file}`, "utf8").matchAll(/\]\(([^)\s]+)\)/g)) {
    const isOnline = online.test(target)
    if (/^https?:/.test(target) && !isOnline) continue
    const [path = "", anchor] = (isOnline ? `/${target.replace(online, "")}` : target).split("#")
    const found = isOnline ? path.slice(1) : path === "" ? file : normalize(join(dirname(file), path))
    const isThere =
      existsSync(`${root}${found}`) && (anchor === undefined || anchorsIn(`${root}${found}`).includes(anchor))
    if (!isThere) problems.push(`${file} links to ${target}, which is not there`)
    else if (!isOnline && isPacked(file) && !isPacked(found)) {
      problems.push(`${file} links to ${target}, which the package does not have: link to the repository`)
    }
  }
}

// --- the compiler -------------------------------------------------------------------------------------------------

const config = ts.parseJsonConfigFileContent(
  ts.readConfigFile(`${root}tsconfig.json`, (path) => ts.sys.readFile(path)).config,
  ts.sys,
  root
)
/** @type {ts.CompilerOptions} */
const options = { ...config.options, allowJs: false, noUnusedLocals: false, noUnusedParameters: false }
const host = ts.createCompilerHost(options)
const { directoryExists, fileExists, getSourceFile, readFile } = host
host.fileExists = (/** @type {string} */ path) => files.has(path) || fileExists(path)
host.readFile = (/** @type {string} */ path) => files.get(path) ?? readFile(path)
host.directoryExists = (/** @type {string} */ path) => `${path}/`.startsWith(folder) || directoryExists?.(path) === true
/** @type {ts.CompilerHost["getSourceFile"]} */
host.getSourceFile = (path, languageVersion, ...rest) => {
  const text = files.get(path)
  return text === undefined
    ? getSourceFile(path, languageVersion, ...rest)
    : ts.createSourceFile(path, text, languageVersion)
}

const program = ts.createProgram([...files.keys()], options, host)
for (const path of files.keys()) {
  const source = program.getSourceFile(path)
  const origin = origins.get(path)
  if (source === undefined || origin === undefined) continue
  for (const { messageText, start = 0 } of [
    ...program.getSyntacticDiagnostics(source),
    ...program.getSemanticDiagnostics(source)
  ]) {
    const { line } = source.getLineAndCharacterOfPosition(start)
    problems.push(`${origin.file}:${origin.line + line + 1} ${ts.flattenDiagnosticMessageText(messageText, "\n")}`)
  }
}

const checker = program.getTypeChecker()
const types = program.getSourceFile(typesPath)
const exported = types === undefined ? undefined : checker.getSymbolAtLocation(types)
const tables = exported === undefined ? [] : checker.getExportsOfModule(exported)
complete.forEach(({ column = 0, file, head, heading, type }, index) => {
  const symbol = tables.find(({ name }) => name === `Table${index}`)
  const declared = symbol === undefined ? undefined : checker.getDeclaredTypeOfSymbol(symbol)
  const members = new Set(
    (declared?.isUnion() === true ? declared.types : []).flatMap((member) =>
      member.isStringLiteral() ? [member.value] : []
    )
  )
  if (members.size === 0) problems.push(`${type} has no members`)
  const text = readFileSync(`${root}${file}`, "utf8")
  const table = tablesBelow(text, heading).find(({ head: [first] }) => first === head)
  const named = new Set(namesIn(table?.rows ?? [], column).map((name) => name.replace(/[.(].*$/, "")))
  for (const name of members) {
    if (!named.has(name)) problems.push(`${file}, "${heading}": the table of ${head} lacks ${name}`)
  }
  for (const name of named) {
    if (!members.has(name)) problems.push(`${file}, "${heading}": ${name} is not one of ${type}`)
  }
})

report("code", problems, `${count} blocks of code compile, and ${complete.length} tables are complete`)
