/** What the examples share that kill themselves: a RunPod both processes reach, and a child that dies in the middle of its batch. */
import type * as Emulator from "effect-runpod/Emulator"
import { NodeEmulator, NodeRunPod } from "effect-runpod/Node"
import { Config, Effect, Option } from "effect"
import { spawn } from "node:child_process"
import { endpointId } from "./runpod.js"

/** RunPod when RUNPOD_API_KEY is set, otherwise an emulator with eight workers behind a real server. */
export const sharedRunPod = (execution: NonNullable<Emulator.EndpointOptions["execution"]>) =>
  Effect.gen(function* () {
    if (Option.isSome(yield* Config.option(Config.nonEmptyString("RUNPOD_API_KEY")))) {
      return { layer: NodeRunPod.layerConfig(), variables: {}, submitted: Effect.succeedNone }
    }
    const apiKey = "emulator"
    const server = yield* NodeEmulator.serve({ apiKey, endpoints: { [yield* endpointId]: { workers: 8, execution } } })
    return {
      layer: NodeRunPod.layer({ apiKey, baseUrl: server.url }),
      /** For the processes it starts. */
      variables: { RUNPOD_BASE_URL: server.url, RUNPOD_API_KEY: apiKey },
      /** How many jobs there were, of all processes. */
      submitted: Effect.map(server.counts, ({ submitted }) => Option.some(submitted))
    }
  })

/** Runs this program in a child process, which prints a line for each outcome, and kills it after ten. Gives how many lines it printed. */
export const killedRun = (file: string, variables: Readonly<Record<string, string>>): Effect.Effect<number> =>
  Effect.async((resume) => {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? "", file], {
      env: { ...process.env, ...variables },
      stdio: ["ignore", "pipe", "inherit"]
    })
    let lines = 0
    child.stdout.on("data", (data) => {
      lines += String(data).split("\n").length - 1
      if (lines >= 10) child.kill("SIGKILL")
    })
    child.once("exit", () => resume(Effect.succeed(lines)))
    return Effect.sync(() => child.kill("SIGKILL"))
  })
