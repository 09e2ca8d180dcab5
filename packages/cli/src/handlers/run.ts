import * as Endpoint from "effect-runpod/Endpoint"
import * as Files from "effect-runpod/Files"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Client from "../shell/client.js"
import { UsageError } from "../shell/errors.js"
import { check, log as logUses, read, readIn } from "../shell/files.js"
import { checkStdin, type JsonObject, objectOf } from "../shell/input.js"
import { Output, toText } from "../shell/output.js"
import { Progress } from "../shell/progress.js"
import { commandOf, Stopping } from "../shell/stopping.js"
import { checkEnd, dataOf, goesOn, tellDiagnosis } from "./job.js"

interface RunArgs extends Client.Recorded {
  readonly endpoint: string
  readonly input: string
  readonly detach: boolean
  readonly cancelOnStop: boolean
  readonly timeout: Duration.Duration | undefined
  readonly webhook: string | undefined
  readonly ttl: Duration.Duration | undefined
  readonly executionTimeout: Duration.Duration | undefined
  readonly lowPriority: boolean
}

/** What goes on when the submit itself is stopped: `Endpoint.run` waits for its answer then, and cancels the job. */
const submitting = (endpoint: string): ReadonlyArray<string> => [
  "The submit is on its way: when RunPod answers it, its job is cancelled.",
  `Should you leave before that, look for it: ${commandOf("jobs", "list", endpoint)}`
]

const submit = Effect.fnUntraced(
  function* (args: RunArgs, input: JsonObject) {
    const { cancelOnStop, executionTimeout, lowPriority, timeout, ttl, webhook } = args
    const output = yield* Output
    const { say } = yield* Stopping
    const { update } = yield* Progress
    const endpoint = yield* Endpoint.make(args.endpoint, { input: Schema.Unknown, output: Schema.Unknown })

    yield* say(() => submitting(args.endpoint))
    const policy = { ttl, executionTimeout, lowPriority: lowPriority || undefined }
    const hasPolicy = Object.values(policy).some((value) => value !== undefined)
    const handle = yield* endpoint
      .run(input, { webhook, policy: hasPolicy ? policy : undefined })
      .pipe(Effect.tapError(() => say(() => [])))
    yield* say(() => (cancelOnStop ? [`Job ${handle.id} is being cancelled.`] : goesOn(args.endpoint, handle.id)))
    yield* update(`Job ${handle.id} was submitted`, { type: "submitted", job: handle.id }, true)
    if (args.detach) return yield* output.one({ id: handle.id, endpointId: args.endpoint }, handle.id)

    const job = yield* handle.settle({
      ...(timeout === undefined ? {} : { timeout }),
      cancelOnInterrupt: cancelOnStop,
      cancelOnTimeout: cancelOnStop,
      onProgress: (job) =>
        Effect.zipRight(
          update(`Job ${job.id} is ${job.status}`, { type: "job", job: job.id, status: job.status }, true),
          Effect.provideService(tellDiagnosis(job), Progress, { mode: "auto", update })
        )
    })
    yield* output.one(dataOf(job), toText(job.output ?? null))
    yield* checkEnd(args.endpoint, job)
  },
  (effect, args) => Effect.provide(effect, Client.layerRecorded(args))
)

/** Options that contradict each other. */
const checkOptions = ({ cancelOnStop, detach, timeout }: RunArgs) => {
  const other = timeout !== undefined ? "--timeout" : cancelOnStop ? "--cancel-on-stop" : undefined
  return detach && other !== undefined
    ? new UsageError({ message: `--detach does not wait, and ${other} is for a wait: give one of them.` })
    : Effect.void
}

export const run = Effect.fnUntraced(function* (args: RunArgs) {
  yield* checkOptions(args)
  yield* checkStdin(args.input, args.keyFile)
  yield* check(logUses("--record", args.record), readIn("the input", args.input), read("--key-file", args.keyFile))
  // Before a recording is opened for it.
  const input = yield* objectOf(args.input, "The input")
  if (args.record !== undefined) yield* Files.makeFolder(args.record)
  yield* submit(args, input)
})
