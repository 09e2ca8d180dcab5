import * as Endpoint from "effect-runpod/Endpoint"
import type { JobError } from "effect-runpod/JobError"
import type { JobHandle } from "effect-runpod/JobHandle"
import type { RunPod } from "effect-runpod/RunPod"
import type { RunPodError } from "effect-runpod/RunPodError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type JobOptions, KnownJob } from "../ModelCall.js"
import type { ModelError } from "../ModelError.js"
import type { JsonObject } from "./json.js"
import type { Path, Transport } from "./transport.js"
import { piecesOf, wholeStream } from "./wholeStream.js"

/** What workers with an OpenAI route take as a job. */
export const Input = Schema.Struct({
  openai_route: Schema.String,
  openai_input: Schema.Record({ key: Schema.String, value: Schema.Unknown })
})

const schemas = { input: Input, output: Schema.Unknown, chunk: Schema.Unknown }

const inputOf = (path: Path, body: JsonObject) => ({ openai_route: path, openai_input: body })

/** Each call is a job, which the core submits, waits for, and cancels when its caller is gone. */
export const make = (endpointId: string, options: JobOptions): Effect.Effect<Transport, never, RunPod> =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint.make(endpointId, schemas)
    const attached = (jobId: string) => endpoint.attach(jobId, options)
    const known = Effect.map(Effect.serviceOption(KnownJob), Option.getOrUndefined)

    const request = (path: Path, body: JsonObject): Effect.Effect<unknown, RunPodError | JobError> =>
      Effect.flatMap(known, (jobId) =>
        jobId === undefined ? endpoint.call(inputOf(path, body), options) : attached(jobId).result(options)
      )

    const streamed = (path: Path, body: JsonObject) =>
      Stream.suspend(() => {
        let known: JobHandle<unknown> | undefined
        const onJob = (job: JobHandle<unknown>) => {
          known = job
          return options.onJob?.(job) ?? Effect.void
        }
        return wholeStream(
          (onGap) => endpoint.callStream(inputOf(path, body), { ...options, onGap, onJob }),
          Effect.suspend(() => known?.result({ poll: { initial: 0 } }) ?? Effect.succeed(undefined))
        )
      })

    const pieces = (path: Path, body: JsonObject): Stream.Stream<unknown, RunPodError | JobError | ModelError> =>
      Stream.unwrap(
        Effect.map(known, (jobId) =>
          jobId === undefined
            ? streamed(path, body)
            : Stream.fromIterableEffect(Effect.map(attached(jobId).result(options), piecesOf))
        )
      )

    return { request, pieces }
  })
