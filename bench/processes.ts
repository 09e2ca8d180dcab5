import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"

/** Starts a file of the benchmark in a process of its own, on the built package. */
export const start = (file: URL, args: ReadonlyArray<string>): ChildProcess => {
  const child = fork(fileURLToPath(file), args, {
    execArgv: ["--expose-gc", "--import", "tsx"],
    env: { ...process.env, TSX_TSCONFIG_PATH: fileURLToPath(new URL("tsconfig.json", import.meta.url)) }
  })
  child.setMaxListeners(100)
  return child
}
