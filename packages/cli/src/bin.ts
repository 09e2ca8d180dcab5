#!/usr/bin/env node
/**
 * The commands `effect-runpod` and `erp`. Help comes from a text made at build time, since loading the program to print it costs more than all else.
 */
import { readFileSync } from "node:fs"
import process from "node:process"
import { plain } from "./shell/plain.js"

const args = process.argv.slice(2)
const last = args.at(-1)

/** The help of the command that the arguments name, when they ask for nothing else. */
const precomputedHelp = (): string | undefined => {
  if (last !== undefined && !["--help", "-h", "--version"].includes(last)) return undefined
  const texts = JSON.parse(readFileSync(new URL("./help.json", import.meta.url), "utf8")) as Record<string, string>
  const command = args.slice(0, -1).join(" ")
  if (last === "--version") return command === "" ? texts["--version"] : undefined
  return Object.hasOwn(texts, command) ? texts[command] : undefined
}

const help = precomputedHelp()
if (help === undefined) {
  const { main } = await import("./main.js")
  main(process.argv)
} else {
  process.stdout.on("error", () => process.exit(0))
  process.stdout.write(plain(help, process.stdout))
}
