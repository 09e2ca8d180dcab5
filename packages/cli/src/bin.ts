#!/usr/bin/env node
/**
 * The commands `effect-runpod` and `erp`. Help comes from data made at build time, since loading the program to print it costs more than all else.
 */
import { readFileSync } from "node:fs"
import process from "node:process"
import { headingOn, printHelp } from "./shell/helpPage.js"
import { helpOf, widthOf } from "./spec/help.js"
import type { Status } from "./spec/statuses.js"
import type { Option, Spec } from "./spec/spec.js"
import { commandOf } from "./spec/words.js"

const args = process.argv.slice(2)

/** What the build has noted. */
interface Noted {
  readonly "--version": string
  readonly "": Spec
  readonly statuses: ReadonlyArray<Status>
  readonly builtIn: ReadonlyArray<Option>
}

/** Prints what asks for nothing else than help or the version: whether it did. */
const didHelp = (): boolean => {
  const isAsked = args.includes("--help") || args.includes("-h")
  const isVersion = args.length === 1 && args[0] === "--version"
  const words = args.filter((word) => !word.startsWith("-"))
  // The program and groups of commands have nothing to do by themselves.
  if (!isAsked && !isVersion && (words.length < args.length || words.length > 1)) return false
  const noted = JSON.parse(readFileSync(new URL("./help.json", import.meta.url), "utf8")) as Noted
  const spec = commandOf(noted[""], args)
  if (!isAsked && !isVersion && (spec.commands.length === 0 || spec.path.length < words.length)) return false
  process.stdout.on("error", () => process.exit(0))
  const { stdout } = process
  const isPlain = (process.env["NO_COLOR"] ?? "") !== ""
  const options = {
    width: widthOf(stdout),
    version: noted["--version"],
    statuses: noted.statuses,
    builtIn: noted.builtIn,
    heading: headingOn(stdout, isPlain)
  }
  printHelp(stdout, isVersion ? `${noted["--version"]}\n` : helpOf(spec, options))
  return true
}

if (!didHelp()) {
  const { main } = await import("./main.js")
  main(process.argv)
}
