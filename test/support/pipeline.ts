/** The operations of the service as data, and what their exits say: for tests that go through all of them. */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as RunPod from "../../src/services/RunPod.js"
import * as Scripted from "./scripted.js"

export type Operation =
  "run" | "runSync" | "status" | "statusSync" | "stream" | "cancel" | "retry" | "purgeQueue" | "health" | "requests"

export const job = Scripted.json({ id: "job-1", status: "IN_QUEUE" })

/** Of whatever job is asked for. */
export const anyJob = Scripted.json({ status: "IN_QUEUE" })

/** An answer to each operation that it takes; that to `stream` ends it. */
export const good: Readonly<Record<Operation, Scripted.Answer>> = {
  run: job,
  runSync: job,
  status: job,
  statusSync: job,
  stream: Scripted.json({ status: "COMPLETED", stream: [{ output: 1 }] }),
  cancel: Scripted.json({ id: "job-1", status: "CANCELLED" }),
  retry: job,
  purgeQueue: Scripted.json({ removed: 3, status: "completed" }),
  health: Scripted.json({ jobs: { inQueue: 1 }, workers: { idle: 2 } }),
  requests: Scripted.json({ requests: null })
}

export const operations = Object.keys(good) as ReadonlyArray<Operation>

/** Those that name a job before they are answered. */
export const ofJob: ReadonlyArray<Operation> = ["status", "statusSync", "stream", "cancel", "retry"]

export const request = { input: { prompt: "a cat" } }

export const call = (
  operation: Operation,
  endpointId = "ep",
  jobId = "job-1"
): Effect.Effect<unknown, RunPodError, RunPod.RunPod> =>
  Effect.flatMap(RunPod.RunPod, (runPod): Effect.Effect<unknown, RunPodError> => {
    switch (operation) {
      case "run":
      case "runSync":
        return runPod[operation](endpointId, request)
      case "purgeQueue":
      case "health":
      case "requests":
        return runPod[operation](endpointId)
      case "stream":
        return Stream.runCollect(runPod.stream(endpointId, jobId))
      default:
        return runPod[operation](endpointId, jobId)
    }
  })

export const status = (endpointId = "ep", jobId = "job-1") =>
  Effect.flatMap(RunPod.RunPod, (runPod) => runPod.status(endpointId, jobId))

/** An answer of this status; its body is empty unless one is given. */
export const text = (status: number, headers: Record<string, string> = {}, body = ""): Scripted.Answer => ({
  status,
  body,
  headers
})

/** "Success", the tag of the error, or what else it was. */
export const errorTag = (exit: Exit.Exit<unknown, RunPodError>): string =>
  Exit.match(exit, {
    onSuccess: () => "Success",
    onFailure: (cause) => (cause._tag === "Fail" ? cause.error._tag : cause._tag)
  })

export const errorOf = (exit: Exit.Exit<unknown, RunPodError>): RunPodError =>
  Exit.match(exit, {
    onSuccess: () => assert.fail("it succeeded"),
    onFailure: (cause) => (cause._tag === "Fail" ? cause.error : assert.fail(Cause.pretty(cause)))
  })

/** How an effect ended, and when. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.zipWith(Effect.exit(effect), Clock.currentTimeMillis, (exit, at) => ({ exit, at }))
