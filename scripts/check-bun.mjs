// @ts-check
/** Installs Bun from npm into a folder of its own, and runs `test/support/bunProgram.ts` in it: `NodeRunPod` works there. */
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { report, root } from "./layout.mjs"

const version = "1.4.5"
const folder = mkdtempSync(join(tmpdir(), "effect-runpod-bun-"))

/** @param {string} command @param {ReadonlyArray<string>} args @param {string} cwd */
const run = (command, args, cwd) =>
  execFileSync(command, args, { cwd, encoding: "utf8", stdio: "pipe", timeout: 120_000 })

const expected = {
  output: { n: 1 },
  completed: 50,
  chunks: ["a", "b"],
  refused: "No",
  deadProxy: "No"
}

try {
  writeFileSync(join(folder, "package.json"), "{}")
  const quietly = ["--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline", "--ignore-scripts"]
  run("npm", ["install", ...quietly, `bun@${version}`], folder)
  const modules = join(folder, "node_modules")
  // What its install script does, which npm may not run.
  run(process.execPath, [join(modules, "bun", "install.js")], join(modules, "bun"))
  const printed = run(join(modules, "bun", "bin", "bun.exe"), ["test/support/bunProgram.ts"], root)
  const problems = printed === JSON.stringify(expected) ? [] : [`in Bun the program printed ${printed}`]
  report("bun", problems, `jobs, a batch and a stream over NodeRunPod in Bun ${version}`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
