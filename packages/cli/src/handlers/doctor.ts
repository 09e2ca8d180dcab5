import * as HttpClient from "@effect/platform/HttpClient"
import * as Flight from "effect-runpod/Flight"
import type { Attempt } from "effect-runpod/FlightRecord"
import { NodeRunPod } from "effect-runpod/Node"
import * as RateLimits from "effect-runpod/RateLimits"
import * as RunPodConfig from "effect-runpod/RunPodConfig"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import process from "node:process"
import * as Client from "../shell/client.js"
import { codeOf, messageOf, Unsuccessful } from "../shell/errors.js"
import { Output } from "../shell/output.js"
import { version } from "../shell/version.js"
import { describeHealth, readingOf } from "./health.js"
import { exitCodes } from "../spec/statuses.js"

interface DoctorArgs extends Client.Access {
  readonly endpoint: string | undefined
}

/** What was looked at, and what came of it. */
interface Check {
  readonly name: string
  /** `warning`: it works, but something will go wrong. */
  readonly result: "ok" | "warning" | "failed"
  readonly detail: string
  /** The status that the command would end with for it. */
  readonly code?: number
  /** What it found, as data. */
  readonly data?: Readonly<Record<string, unknown>>
}

/** Above this, signed times such as those of webhook tokens are refused, in milliseconds. */
const toleratedSkew = 60_000

const failed = (name: string, error: unknown): Check => ({
  name,
  result: "failed",
  detail: messageOf(error) ?? "",
  code: codeOf(error)
})

const keyCheck = ({ keyFile }: DoctorArgs, key: Either.Either<unknown, unknown>): Check =>
  Either.match(key, {
    onLeft: (error) => failed("key", error),
    onRight: () => ({
      name: "key",
      result: "ok",
      detail: keyFile === undefined ? "from RUNPOD_API_KEY" : `from ${keyFile === "-" ? "stdin" : keyFile}`
    })
  })

/** Whether the server answers at all, and whether its clock is ours. */
const networkChecks = Effect.gen(function* () {
  const client = yield* HttpClient.HttpClient
  const url = Client.baseUrlOf() ?? RunPodConfig.defaults.baseUrl
  const answer = yield* Effect.either(Effect.scoped(client.get(url)))
  if (Either.isLeft(answer)) {
    const { cause, message } = answer.left
    const why = cause instanceof Error && cause.message !== "" ? cause.message : message
    return [failed("network", new Error(`${url} does not answer: ${why}`))]
  }
  const network: Check = { name: "network", result: "ok", detail: `${url} answers` }
  const at = Date.parse(answer.right.headers["date"] ?? "")
  if (Number.isNaN(at)) return [network]
  const skew = (yield* Clock.currentTimeMillis) - at
  const clock: Check =
    Math.abs(skew) <= toleratedSkew
      ? { name: "clock", result: "ok", detail: "as the server's" }
      : {
          name: "clock",
          result: "warning",
          detail: `${Math.round(Math.abs(skew) / 1000)} s ${skew > 0 ? "ahead of" : "behind"} the server's: set it, or tokens and deadlines are wrong`
        }
  return [network, clock]
}).pipe(Effect.provide(NodeRunPod.layerHttpClient()))

/** Looks at the endpoint, and at what became of the requests for that. */
const endpointChecks = Effect.fnUntraced(function* (key: Redacted.Redacted, endpoint: string) {
  const { layer, recording } = yield* Flight.inMemory()
  const check = yield* Effect.provide(readingOf(endpoint), Layer.provide(Client.layerWith(key), layer)).pipe(
    Effect.match({
      onFailure: (error) => failed("endpoint", error),
      onSuccess: ({ diagnosis, health }): Check => ({
        name: "endpoint",
        result: diagnosis === undefined || diagnosis.reason === "Busy" ? "ok" : "warning",
        detail: `${describeHealth({ health }).replaceAll("\n", "; ")}${diagnosis === undefined ? "" : `. ${diagnosis.message}`}`
      })
    })
  )
  const { attempts } = yield* recording
  return [check, limitsCheck(attempts)]
})

const proxyCheck = (): Check => {
  const names = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"].filter(
    (name) => (process.env[name] ?? process.env[name.toLowerCase()] ?? "") !== ""
  )
  return { name: "proxy", result: "ok", detail: names.length === 0 ? "none" : `by ${names.join(", ")}` }
}

const documented = Object.entries(RateLimits.table).filter(([, { limit }]) => Number.isFinite(limit))

/** RunPod's limits. How full they are it tells nobody: only an answer 429 says that one is, so that is what is told of `attempts`. */
const limitsCheck = (attempts: ReadonlyArray<Attempt>): Check => {
  const refused = attempts.filter(({ end }) => end._tag === "Answer" && end.status === 429)
  const seen =
    attempts.length === 0
      ? "nothing was asked of an endpoint here"
      : `of ${attempts.length} requests here ${refused.length === 0 ? "none was" : `${refused.length} were`} refused (429)`
  const table = documented.map(([operation, { limit, window }]) => `${operation} ${limit} in ${String(window)}`)
  return {
    name: "limits",
    result: refused.length === 0 ? "ok" : "warning",
    detail: `RunPod does not tell how full they are; ${seen}. Documented for each endpoint: ${table.join(", ")}`,
    data: {
      requests: attempts.length,
      throttled: refused.length,
      documented: Object.fromEntries(
        documented.map(([operation, { limit, window }]) => [operation, { limit, window: Duration.toMillis(window) }])
      )
    }
  }
}

export const doctor = Effect.fnUntraced(function* (args: DoctorArgs) {
  const output = yield* Output
  const versions: Check = {
    name: "versions",
    result: "ok",
    detail: `effect-runpod-cli ${version}, Node ${process.version}`
  }
  const key = yield* Effect.either(Client.keyOf(args))
  const checks = [
    versions,
    keyCheck(args, key),
    proxyCheck(),
    ...(yield* networkChecks),
    ...(args.endpoint === undefined || Either.isLeft(key)
      ? [limitsCheck([])]
      : yield* endpointChecks(key.right, args.endpoint))
  ]
  const text = checks.map(({ detail, name, result }) => `${result.padEnd(7)} ${name}: ${detail}`).join("\n")
  yield* output.one(
    checks.map(({ code: _, data, ...check }) => ({ ...check, ...data })),
    text
  )
  const problem = checks.find(({ result }) => result === "failed")
  if (problem !== undefined) yield* new Unsuccessful({ code: problem.code ?? exitCodes.failure })
})
