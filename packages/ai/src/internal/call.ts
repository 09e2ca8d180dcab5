import type { RunPod } from "effect-runpod/RunPod"
import { RunPodHttpClient } from "effect-runpod/RunPodHttpClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { KnownJob, type Options } from "../ModelCall.js"
import { client as routeOf } from "../OpenAi.js"
import * as Auto from "./autoTransport.js"
import * as Job from "./jobTransport.js"
import * as Route from "./routeTransport.js"
import type { Model, Transport } from "./transport.js"
import * as Warmth from "./warmth.js"

/** Calls inside of `withJob` read their job, however calls are made otherwise. */
const orKnownJob = (transport: Transport, job: Transport): Transport => {
  const transportNow = Effect.map(Effect.serviceOption(KnownJob), (known) => (Option.isSome(known) ? job : transport))
  return {
    request: (path, body) => Effect.flatMap(transportNow, (chosen) => chosen.request(path, body)),
    pieces: (path, body, isWhole) =>
      Stream.unwrap(Effect.map(transportNow, (chosen) => chosen.pieces(path, body, isWhole)))
  }
}

/** The model of these options, called as they say. */
export const modelOf = ({
  client,
  endpoint,
  job: jobOptions = {},
  via = "auto"
}: Options): Effect.Effect<Model, never, RunPod | RunPodHttpClient> =>
  Effect.gen(function* () {
    const { scrub } = yield* RunPodHttpClient
    const job = yield* Job.make(endpoint, jobOptions)
    if (via === "job") return { ...job, scrub }
    const route = Route.make(client ?? (yield* routeOf(endpoint)), scrub)
    const transport = via === "route" ? route : Auto.make({ route, job, isWarm: yield* Warmth.make(endpoint) })
    return { ...orKnownJob(transport, job), scrub }
  })
