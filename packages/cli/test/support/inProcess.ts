import * as Effect from "effect/Effect"
import { State } from "../../src/shell/stopping.js"

// The build writes it in.
Reflect.set(globalThis, "PACKAGE_VERSION", "0.0.0")
const { program, tellEnd } = await import("../../src/program.js")

/** What a command line has come to. */
export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

interface Options {
  readonly env?: Readonly<Record<string, string>>
  /** Whether stdout and stderr say that they are terminals. */
  readonly isTerminal?: boolean
}

type Undo = () => void

/** Takes what is written to a stream of the process. */
const take = (stream: NodeJS.WriteStream, isTerminal: boolean, texts: Array<string>): Undo => {
  const { write } = stream
  const { isTTY } = stream
  Reflect.set(stream, "isTTY", isTerminal)
  Reflect.set(stream, "write", (text: string, done?: () => void) => {
    texts.push(text)
    done?.()
    return true
  })
  return () => {
    Reflect.set(stream, "isTTY", isTTY)
    Reflect.set(stream, "write", write)
  }
}

const setVariables = (env: Readonly<Record<string, string>>): Undo => {
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const)
  Object.assign(process.env, env)
  return () => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

/**
 * Runs a command line in this process: it costs a twentieth of one of its own, whose streams, signals and start it does not have. One at a
 * time, since it is given the process's streams and variables.
 */
export const runHere = (args: ReadonlyArray<string>, { env = {}, isTerminal = false }: Options = {}) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const texts = { stdout: new Array<string>(), stderr: new Array<string>() }
      const undo = [
        take(process.stdout, isTerminal, texts.stdout),
        take(process.stderr, isTerminal, texts.stderr),
        setVariables(env)
      ]
      return { texts, undo }
    }),
    ({ texts }) =>
      Effect.gen(function* () {
        const stopping = new State()
        const argv = ["node", "effect-runpod", ...args]
        const code = tellEnd(yield* Effect.exit(program(argv, stopping)), argv, stopping)
        return { code, stdout: texts.stdout.join(""), stderr: texts.stderr.join("") } satisfies Ended
      }),
    ({ undo }) => Effect.sync(() => undo.forEach((restore) => restore()))
  )
