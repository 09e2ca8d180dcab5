// @ts-check
/**
 * Records a batch in a terminal: it is run over an emulator, interrupted and resumed. `node scripts/record-batch.mjs` writes
 * docs/images/batch.svg of what the commands really print.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { setTimeout as sleep } from "node:timers/promises"
import { build } from "../packages/cli/build.mjs"
import { root } from "./layout.mjs"
import { svgOf } from "./terminal.mjs"

const columns = 100
const folder = mkdtempSync(join(tmpdir(), "recording-"))
const bin = join(folder, "dist/bin.js")

/** @type {Array<import("./terminal.mjs").Written>} */
const written = []
/** How long what is shown took so far, in seconds. */
let passed = 0

/**
 * Shows a command as it is typed, and runs it in a pseudo-terminal to its end; after a while Ctrl-C is typed.
 *
 * @param {ReadonlyArray<string>} args
 * @param {Readonly<Record<string, string>>} env
 * @param {number} [stopAfter] In milliseconds.
 */
const show = async (args, env, stopAfter) => {
  written.push({ at: passed, text: `$ effect-runpod ${args.join(" ")}\r\n` })
  const line = [process.execPath, bin, ...args].map((arg) => `'${arg}'`).join(" ")
  const child = spawn("script", ["-qec", `stty cols ${columns}; exec ${line}`, "/dev/null"], {
    cwd: folder,
    env: { ...process.env, TERM: "xterm", SHELL: "/bin/sh", ...env },
    stdio: ["pipe", "pipe", "inherit"]
  })
  const began = performance.now()
  const ended = new Promise((resolve) => child.on("close", resolve))
  const clock = () => passed + 0.6 + (performance.now() - began) / 1_000
  child.stdout.setEncoding("utf8").on("data", (text) => written.push({ at: clock(), text }))
  if (stopAfter !== undefined) void sleep(stopAfter).then(() => child.stdin.write("\u0003"))
  await ended
  passed = clock() + 1
}

try {
  await build(join(folder, "dist"))
  const prompts = Array.from({ length: 120 }, (_, n) => `p${n},a photo of cat number ${n}`)
  writeFileSync(join(folder, "prompts.csv"), `id,prompt\n${prompts.join("\n")}\n`)
  const config = JSON.stringify({ endpoints: { caption: { workers: 20, execution: { min: 700, max: 1_500 } } } })
  const emulator = spawn(process.execPath, [bin, "emulator", "start", "--config", config], {
    stdio: ["ignore", "pipe", "ignore"]
  })
  try {
    const url = await new Promise((resolve) =>
      emulator.stdout.setEncoding("utf8").once("data", (/** @type {string} */ text) => resolve(text.trim()))
    )
    const env = { RUNPOD_BASE_URL: String(url), RUNPOD_API_KEY: "any-key-at-all" }
    const files = ["--journal", "batch.jsonl", "--out", "out.jsonl"]
    await show(["batch", "run", "caption", "prompts.csv", "--key", "id", ...files], env, 4_000)
    await show(["batch", "resume", "batch.jsonl"], env)
    written.push({ at: passed, text: "$ " })
  } finally {
    emulator.kill()
  }
  const title = "A batch is run, interrupted by Ctrl-C, and resumed"
  writeFileSync(join(root, "docs/images/batch.svg"), svgOf(written, { columns, title }))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
