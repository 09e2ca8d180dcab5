/**
 * Prints what every command takes as JSON, for the build.
 */
import process from "node:process"
import { root } from "./app.js"
import { print } from "./shell/terminal.js"
import { version } from "./shell/version.js"
import { builtIn, flatten } from "./spec/spec.js"
import { statuses } from "./spec/statuses.js"

const commands = flatten(root).map(({ description, path }) => [path.join(" "), description] as const)

print(
  process.stdout,
  JSON.stringify({ ...Object.fromEntries(commands), "": root, "--version": version, statuses, builtIn })
)
