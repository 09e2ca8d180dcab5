import * as Emulator from "effect-runpod/Emulator"
import * as Files from "effect-runpod/Files"
import * as Flight from "effect-runpod/Flight"
import { NodeEmulator } from "effect-runpod/Node"
import * as RateLimits from "effect-runpod/RateLimits"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { UsageError } from "../shell/errors.js"
import { check, read as readUses, readIn } from "../shell/files.js"
import { checkEndpoints, checkStdin, isObject, issueOf, jsonOf } from "../shell/input.js"
import { Output } from "../shell/output.js"
import { Progress } from "../shell/progress.js"
import { Config, Faults, wrongFaultIn } from "./emulatorConfig.js"

interface StartArgs {
  readonly endpoints: ReadonlyArray<string>
  readonly config: string | undefined
  readonly faults: string | undefined
  readonly port: number
  readonly host: string
  readonly workers: number | undefined
  readonly execution: Duration.Duration | undefined
  readonly coldStart: Duration.Duration | undefined
  readonly unlimited: boolean
  readonly dashboard: boolean
  readonly flight: string | undefined
}

/** An option of JSON, by its schema; without it that of `fallback`. */
const read = <A, I>(schema: Schema.Schema<A, I>, argument: string | undefined, name: string, fallback: unknown) =>
  Effect.gen(function* () {
    const value = argument === undefined ? fallback : yield* jsonOf(argument, name)
    const wrongFault = wrongFaultIn(name === "--faults" ? value : isObject(value) ? value["faults"] : undefined)
    if (wrongFault !== undefined)
      return yield* new UsageError({ message: `${name} is not what the emulator takes: ${wrongFault}` })
    return yield* Effect.mapError(
      Schema.decodeUnknown(schema, { onExcessProperty: "error" })(value),
      (error) => new UsageError({ message: `${name} is not what the emulator takes: ${issueOf(error)}.` })
    )
  })

const readFlight = (path: string) =>
  Effect.map(Effect.zipRight(Files.checkReadable(path), Flight.read(path)), Emulator.fromFlight)

const optionsOf = Effect.fnUntraced(function* (args: StartArgs) {
  const { coldStart, execution, workers } = args
  yield* check(readIn("--config", args.config), readIn("--faults", args.faults), readUses("--flight", args.flight))
  yield* checkStdin(args.config, args.faults)
  const config = yield* read(Config, args.config, "--config", {})
  const faults = yield* read(Faults, args.faults, "--faults", [])
  const endpoint: Emulator.EndpointOptions = { coldStart, execution, workers }
  const ids = args.endpoints.length === 0 && Object.keys(config.endpoints).length === 0 ? ["local"] : args.endpoints
  const recorded = args.flight === undefined ? undefined : yield* readFlight(args.flight)
  return {
    ...config,
    ...recorded,
    endpoints: {
      ...recorded?.endpoints,
      ...config.endpoints,
      ...Object.fromEntries((recorded === undefined ? ids : args.endpoints).map((id) => [id, endpoint]))
    },
    faults: [...(recorded?.faults ?? []), ...config.faults, ...faults],
    limits: args.unlimited ? RateLimits.unlimited : undefined
  }
})

/** Serves a page over its endpoints, and gives its address. */
const dashboardOf = (server: NodeEmulator.Server, endpoints: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const [Source, { serve }] = yield* Effect.promise(() =>
      Promise.all([import("effect-runpod-dashboard/Source"), import("../shell/page.js")])
    )
    return yield* serve(endpoints.map((id) => Source.emulator(server, id)))
  })

/** Tells where it listens once it does, and serves until it is interrupted. */
export const start = Effect.fnUntraced(function* (args: StartArgs) {
  const options = yield* optionsOf(args)
  yield* checkEndpoints(Object.keys(options.endpoints))
  const output = yield* Output
  const { update } = yield* Progress
  const server = yield* NodeEmulator.serve({ ...options, host: args.host, port: args.port })
  const { url } = server
  const endpoints = Object.keys(options.endpoints)
  const page = args.dashboard ? { dashboard: yield* dashboardOf(server, endpoints) } : {}
  yield* output.one({ url, endpoints, ...page }, url)
  const key = options.apiKey === undefined ? "any" : "the one of --config"
  yield* update(
    `Serving ${endpoints.join(", ")}. In another shell: export RUNPOD_BASE_URL=${url} RUNPOD_API_KEY=… (${key})`,
    { type: "serving", url, endpoints, ...page },
    true
  )
  if (page.dashboard !== undefined) {
    yield* update(`Its dashboard: ${page.dashboard}`, { type: "dashboard", url: page.dashboard }, true)
  }
  return yield* Effect.never
}, Effect.scoped)
