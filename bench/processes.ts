import { buildSync } from "esbuild"
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

const pathOf = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

/** Starts a file of the benchmark in a process of its own, on the built package: as JavaScript, without the loader and the source maps of `tsx`, as users run theirs. */
export const start = (file: URL, args: ReadonlyArray<string>): ChildProcess => {
  const source = fileURLToPath(file)
  const built = pathOf(`dist/${source.slice(pathOf(".").length, -".ts".length).replaceAll("/", "-")}.js`)
  buildSync({
    entryPoints: [source],
    outfile: built,
    bundle: true,
    packages: "external",
    format: "esm",
    platform: "node",
    target: "es2022"
  })
  return fork(built, args, {
    execArgv: ["--expose-gc"],
    env: { ...process.env, NODE_EXTRA_CA_CERTS: pathOf("../test/fixtures/localhost.crt") }
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
