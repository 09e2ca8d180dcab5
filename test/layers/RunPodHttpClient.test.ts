import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted

const exact = RetryPolicy.make({ jitter: "none", maxAttempts: 4 })

type Operation = "run" | "runSync" | "status" | "statusSync" | "cancel" | "retry" | "purgeQueue" | "health" | "requests"

const job = json({ id: "job-1", status: "IN_QUEUE" })

const good: Record<Operation, Scripted.Answer> = {
  run: job,
  runSync: job,
  status: job,
  statusSync: job,
  cancel: json({ id: "job-1", status: "CANCELLED" }),
  retry: job,
  purgeQueue: json({ removed: 3, status: "completed" }),
  health: json({ jobs: { inQueue: 1 }, workers: { idle: 2 } }),
  requests: json({ requests: null })
}

const request = { input: { prompt: "a cat" } }

const call = (operation: Operation): Effect.Effect<unknown, RunPodError, RunPod.RunPod> =>
  Effect.flatMap(RunPod.RunPod, (runPod): Effect.Effect<unknown, RunPodError> => {
    switch (operation) {
      case "run":
        return runPod.run("ep", request)
      case "runSync":
        return runPod.runSync("ep", request)
      case "purgeQueue":
      case "health":
      case "requests":
        return runPod[operation]("ep")
      default:
        return runPod[operation]("ep", "job-1")
    }
  })

const errorTag = (exit: Exit.Exit<unknown, RunPodError>): string =>
  Exit.match(exit, {
    onSuccess: () => "Success",
    onFailure: (cause) => (cause._tag === "Fail" ? cause.error._tag : cause._tag)
  })

describe("RunPodHttpClient", () => {
  describe("method-aware retries", () => {
    const reads: ReadonlyArray<Operation> = ["status", "statusSync", "cancel", "health", "requests"]
    const submits: ReadonlyArray<Operation> = ["run", "runSync"]
    const once: ReadonlyArray<Operation> = ["retry", "purgeQueue"]

    const faults: Record<string, Scripted.Answer> = {
      "429": { status: 429, body: "" },
      refused: "refused",
      reset: "reset",
      "503 text": { status: 503, body: "warming up" },
      "500 JSON": json({ status: 500, title: "Internal Server Error" }, 500),
      "524 HTML": { status: 524, body: "<html>timeout</html>" },
      "408": { status: 408, body: "" },
      "HTML on 200": { status: 200, body: "<html>gateway</html>" },
      "empty 200": { status: 200, body: "" },
      "truncated JSON": { status: 200, body: `{"id":"job-1","sta` }
    }
    const provesNothingSent = new Set(["429", "refused"])

    const final: Record<string, readonly [Scripted.Answer, string]> = {
      "400": [json({ status: 400, title: "Bad Request", detail: "no" }, 400), "BadRequestError"],
      "401": [{ status: 401, body: "" }, "AuthenticationError"],
      "403": [{ status: 403, body: "" }, "PermissionDeniedError"],
      "404 endpoint": [json({ error: "endpoint not found" }, 404), "EndpointNotFoundError"],
      "409 paused": [json({ status: 409, code: "ENDPOINT_PAUSED" }, 409), "EndpointPausedError"]
    }

    for (const [name, fault] of Object.entries(faults)) {
      for (const operation of [...reads, ...submits, ...once]) {
        const isRetried = reads.includes(operation) || provesNothingSent.has(name)
        it.effect(`${operation} ${isRetried ? "is sent again" : "is not sent again"} after ${name}`, () =>
          Effect.gen(function* () {
            const transport = Scripted.make([fault, good[operation]])
            const exit = yield* finish(Effect.exit(Effect.provide(call(operation), transport.layer({ retry: exact }))))
            if (isRetried) {
              assert.strictEqual(errorTag(exit), "Success")
              assert.strictEqual(transport.asked.length, 2)
            } else {
              assert.strictEqual(transport.asked.length, 1)
              assert.strictEqual(errorTag(exit) === "SubmitAmbiguousError", submits.includes(operation))
              assert.notStrictEqual(errorTag(exit), "Success")
            }
          })
        )
      }
    }

    for (const [name, [answer, tag]] of Object.entries(final)) {
      for (const operation of [...reads, ...submits, ...once]) {
        it.effect(`${operation} fails at once after ${name}`, () =>
          Effect.gen(function* () {
            const transport = Scripted.make([answer, good[operation]])
            const exit = yield* finish(Effect.exit(Effect.provide(call(operation), transport.layer({ retry: exact }))))
            assert.strictEqual(errorTag(exit), tag)
            assert.strictEqual(transport.asked.length, 1)
          })
        )
      }
    }

    it.effect("a submit with `resubmit` is sent again after a lost answer", () =>
      Effect.gen(function* () {
        const transport = Scripted.make(["reset", "hang", { status: 502, body: "" }, job])
        const submit = Effect.flatMap(RunPod.RunPod, (_) => _.run("ep", request, { resubmit: true }))
        const result = yield* finish(Effect.provide(submit, transport.layer({ retry: exact })))
        assert.strictEqual(result.id, "job-1")
        assert.strictEqual(transport.asked.length, 4)
      })
    )

    it.effect("a doubt from an earlier attempt survives a later error that proves nothing about it", () =>
      Effect.gen(function* () {
        const transport = Scripted.make(["reset", { status: 401, body: "" }])
        const submit = Effect.flatMap(RunPod.RunPod, (_) => _.run("ep", request, { resubmit: true }))
        const exit = yield* finish(Effect.exit(Effect.provide(submit, transport.layer({ retry: exact }))))
        assert.strictEqual(errorTag(exit), "SubmitAmbiguousError")
      })
    )

    it.effect("a paused endpoint is asked again when the policy has a schedule for it", () =>
      Effect.gen(function* () {
        const transport = Scripted.make([final["409 paused"]![0], final["409 paused"]![0], job])
        const retry = RetryPolicy.make({ whilePaused: Schedule.spaced("30 seconds") })
        yield* finish(Effect.provide(call("run"), transport.layer({ retry })))
        assert.deepStrictEqual(transport.times(), [0, 30_000, 60_000])
      })
    )
  })
})
