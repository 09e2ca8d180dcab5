import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

/** Starts a file of the benchmark in a process of its own, on the built package. */
export const start = (file: URL, args: ReadonlyArray<string>): ChildProcess => {
  return fork(fileURLToPath(file), args, {
    execArgv: ["--expose-gc", "--import", "tsx"],
    env: {
      ...process.env,
      TSX_TSCONFIG_PATH: fileURLToPath(new URL("tsconfig.json", import.meta.url)),
      NODE_EXTRA_CA_CERTS: fileURLToPath(new URL("../test/fixtures/localhost.crt", import.meta.url))
    }
  })
}

/** The next message of a process. It rejects when the process ends instead. */
export const nextMessage = async <A>(child: ChildProcess): Promise<A> => {
  const abort = new AbortController()
  const { signal } = abort
  try {
    return await Promise.race([
      once(child, "message", { signal }).then(([message]: Array<unknown>) => message as A),
      once(child, "exit", { signal }).then(() => Promise.reject(new Error(`${child.spawnargs.join(" ")} has ended`)))
    ])
  } finally {
    abort.abort()
  }
}
