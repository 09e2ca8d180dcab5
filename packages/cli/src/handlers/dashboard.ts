import * as Cost from "effect-runpod/Cost"
import * as Files from "effect-runpod/Files"
import * as RunPod from "effect-runpod/RunPod"
import * as Source from "effect-runpod-dashboard/Source"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Client from "../shell/client.js"
import { UsageError } from "../shell/errors.js"
import { check, read } from "../shell/files.js"
import { checkEndpoints } from "../shell/input.js"
import { Output } from "../shell/output.js"
import { serve } from "../shell/page.js"
import { Progress } from "../shell/progress.js"

interface DashboardArgs extends Client.Access {
  readonly endpoints: ReadonlyArray<string>
  readonly journals: ReadonlyArray<string>
  readonly rate: number | undefined
  readonly port: number
}

/** The sources of endpoints. The key is asked for only where there are some. */
const endpointsOf = Effect.fnUntraced(function* (args: DashboardArgs, options: Source.Options) {
  if (args.endpoints.length === 0) return []
  const context = yield* Layer.build(Client.layer(args))
  const runPod = Context.get(context, RunPod.RunPod)
  return args.endpoints.map((id) => Source.endpoint(runPod, id, options))
})

/** Tells where the page is once it is served, and serves it until it is interrupted. */
export const dashboard = Effect.fnUntraced(function* (args: DashboardArgs) {
  const { journals, port, rate } = args
  const names = [...new Set([...args.endpoints, ...journals])]
  if (names.length === 0) {
    return yield* new UsageError({ message: "There is nothing to show: give --endpoint or --journal, once or more." })
  }
  if (names.length < args.endpoints.length + journals.length) {
    return yield* new UsageError({ message: "An endpoint or a journal was given twice." })
  }
  yield* checkEndpoints(args.endpoints)
  yield* check(...journals.map((path) => read("a journal", path)))
  // One that is not there yet is shown when it is.
  for (const path of journals) {
    yield* Effect.catchIf(
      Files.checkReadable(path),
      ({ reason }) => reason === "Missing",
      () => Effect.void
    )
  }
  const output = yield* Output
  const { update } = yield* Progress
  const cost =
    rate === undefined ? undefined : yield* Cost.make({ rates: Cost.rates({ worker: { flex: rate } }), gpu: "worker" })
  const sources = [
    ...(yield* endpointsOf(args, { cost })),
    ...(yield* Effect.forEach(journals, (path) => Source.journal(path, { cost })))
  ]
  const url = yield* serve(sources, port)
  yield* output.one({ url, sources: names }, url)
  yield* update(
    `The dashboard of ${names.join(", ")} is at ${url}. Ctrl-C ends it.`,
    { type: "serving", url, sources: names },
    true
  )
  return yield* Effect.never
}, Effect.scoped)
