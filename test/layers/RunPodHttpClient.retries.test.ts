import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as RunPod from "../../src/services/RunPod.js"
import { finish } from "../support/finish.js"
import { call, errorTag, good, job, type Operation, operations, request, text } from "../support/pipeline.js"
import * as Scripted from "../support/scripted.js"

const { json } = Scripted

/** What comes after an outcome. */
type Rule = "retry" | "retry, with a gap" | "ambiguous" | "fail"

/** The operations that are treated alike, and what is done after an outcome. */
interface Row {
  readonly reads: Rule
  readonly stream: Rule
  readonly submits: Rule
  readonly once: Rule
}

const rowOf: Readonly<Record<Operation, keyof Row>> = {
  status: "reads",
  statusSync: "reads",
  health: "reads",
  requests: "reads",
  cancel: "reads",
  stream: "stream",
  run: "submits",
  runSync: "submits",
  retry: "once",
  purgeQueue: "once"
}

const nothingStarted: Row = { reads: "retry", stream: "retry", submits: "retry", once: "retry" }
const unclear: Row = { reads: "retry", stream: "retry, with a gap", submits: "ambiguous", once: "fail" }
const refused: Row = { reads: "fail", stream: "fail", submits: "fail", once: "fail" }
const undecodable: Row = { reads: "fail", stream: "fail", submits: "ambiguous", once: "fail" }

/** How long each operation waits for headers. */
const patience: Readonly<Record<Operation, number>> = {
  status: 30_000,
  statusSync: 100_000,
  health: 30_000,
  requests: 30_000,
  cancel: 30_000,
  stream: 20_000,
  run: 30_000,
  runSync: 100_000,
  retry: 30_000,
  purgeQueue: 30_000
}

interface Case {
  readonly fault: Scripted.Answer
  readonly row: Row
  /** The error it is. */
  readonly tag: RunPodError["_tag"]
  /** Milliseconds from its end to the next attempt. */
  readonly delay?: number
  /** The server may know no held requests: `statusSync` asks /status at once. */
  readonly isUnknownPath?: boolean
  /** Milliseconds the faulty attempt takes. */
  readonly takes?: Readonly<Record<Operation, number>> | number
}

const throttled = { row: nothingStarted, tag: "RateLimitedError" } as const
const broken = { row: unclear, tag: "ServerError", delay: 250 } as const

const cases: Readonly<Record<string, Case>> = {
  "429": { ...throttled, fault: text(429), delay: 1_000 },
  "429 with Retry-After in seconds": { ...throttled, fault: text(429, { "retry-after": "7" }), delay: 7_000 },
  "429 with Retry-After as a date": {
    ...throttled,
    fault: text(429, { "retry-after": "Thu, 01 Jan 1970 00:00:09 GMT" }),
    delay: 9_000
  },
  "a refused connection": { row: nothingStarted, fault: "refused", tag: "TransportError", delay: 250 },
  "a reset": { row: unclear, fault: "reset", tag: "TransportError", delay: 250 },
  "no answer": { row: unclear, fault: "hang", tag: "RequestTimeoutError", delay: 250, takes: patience },
  "a body that stands still": { row: unclear, fault: "stall", tag: "RequestTimeoutError", delay: 250, takes: 5_000 },
  "408": { ...broken, fault: text(408) },
  "500 JSON": { ...broken, fault: json({ status: 500, title: "Internal Server Error" }, 500) },
  "502 HTML": { ...broken, fault: text(502, {}, "<html>bad gateway</html>") },
  "503 text": { ...broken, fault: text(503, {}, "warming up") },
  "503 with Retry-After": { ...broken, fault: text(503, { "retry-after": "3" }), delay: 3_000 },
  "520": { ...broken, fault: text(520) },
  "524 with a job in it": { ...broken, fault: json({ id: "job-1", status: "COMPLETED", output: 1 }, 524) },
  "HTML on 200": { ...broken, fault: text(200, {}, "<html>gateway</html>") },
  "an empty 200": { ...broken, fault: text(200) },
  "204": { ...broken, fault: text(204) },
  "truncated JSON": { ...broken, fault: text(200, {}, `{"id":"job-1","sta`) },
  "JSON that is no object": { row: undecodable, fault: json("ok"), tag: "DecodeError" },
  "301": { ...broken, fault: text(301) },
  "302": { ...broken, fault: text(302, { location: "https://elsewhere.test" }) },
  "304": { ...broken, fault: text(304) },
  "400 of a gateway": { ...broken, fault: text(400, {}, "<html>bad request</html>") },
  "401 of a gateway": { ...broken, fault: text(401, {}, "<html>authorization required</html>") },
  "403 of a gateway": { ...broken, fault: text(403, {}, "<html>forbidden</html>") },
  "an empty 403": { ...broken, fault: text(403) },
  "404 of a gateway": { ...broken, isUnknownPath: true, fault: text(404, {}, "<html>not found</html>") },
  "404 of a gateway, as text": { ...broken, isUnknownPath: true, fault: text(404, {}, "404 page not found") },
  "an empty 404": { ...broken, isUnknownPath: true, fault: text(404) },
  "409 of a gateway": { ...broken, fault: text(409, {}, "<html>conflict</html>") },
  "an empty 422": { ...broken, fault: text(422) },
  "400": {
    row: refused,
    fault: json({ status: 400, title: "Bad Request", detail: "no" }, 400),
    tag: "BadRequestError"
  },
  "401": { row: refused, fault: text(401), tag: "AuthenticationError" },
  "403": { row: refused, fault: json({ status: 403, title: "Forbidden" }, 403), tag: "PermissionDeniedError" },
  "404 of the endpoint": {
    row: refused,
    fault: json({ error: "endpoint not found" }, 404),
    tag: "EndpointNotFoundError"
  },
  "404 of the job": { row: refused, fault: json({ error: "job not found" }, 404), tag: "JobNotFoundError" },
  "409 of a paused endpoint": {
    row: refused,
    fault: json({ status: 409, title: "Conflict", code: "ENDPOINT_PAUSED" }, 409),
    tag: "EndpointPausedError"
  },
  "413": { row: refused, fault: text(413), tag: "PayloadTooLargeError" },
  "413 of a gateway": {
    row: refused,
    fault: text(413, {}, "<html>request entity too large</html>"),
    tag: "PayloadTooLargeError"
  },
  "422": { row: refused, fault: json({ status: 422, title: "Unprocessable Entity" }, 422), tag: "BadRequestError" }
}

const takes = ({ takes = 0 }: Case, operation: Operation): number =>
  typeof takes === "number" ? takes : takes[operation]

/** How an operation ended, when its attempts were made, and the gaps it reported. */
interface Outcome {
  readonly ends: string
  readonly because: string | undefined
  readonly times: ReadonlyArray<number>
  readonly gaps: ReadonlyArray<string>
}

/** One operation against one fault and then a good answer. */
const outcomeOf = (operation: Operation, fault: Scripted.Answer, resubmit: boolean): Effect.Effect<Outcome> => {
  const gaps: Array<string> = []
  const transport = Scripted.make([fault, good[operation]])
  const effect = Effect.flatMap(RunPod.RunPod, (runPod): Effect.Effect<unknown, RunPodError, RunPod.RunPod> => {
    if (operation === "run" || operation === "runSync") return runPod[operation]("ep", request, { resubmit })
    if (operation !== "stream") return call(operation)
    const onGap = (error: RunPodError) => Effect.sync(() => gaps.push(error._tag))
    return Stream.runDrain(runPod.stream("ep", "job-1", { onGap }))
  })
  const retry = RetryPolicy.make({ jitter: "none" })
  return Effect.map(Effect.exit(Effect.provide(effect, transport.layer({ retry }))), (exit) => {
    const error = Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : undefined
    return {
      ends: errorTag(exit),
      because: error?._tag === "SubmitAmbiguousError" ? error.cause?._tag : undefined,
      times: transport.times(),
      gaps
    }
  })
}

const expected = (operation: Operation, of: Case, rule: Rule): Outcome => {
  switch (rule) {
    case "retry":
    case "retry, with a gap": {
      const delay = of.isUnknownPath === true && operation === "statusSync" ? 0 : (of.delay ?? 0)
      const again = takes(of, operation) + delay
      const gaps = rule === "retry" ? [] : [of.tag]
      return { ends: "Success", because: undefined, times: [0, again], gaps }
    }
    case "ambiguous":
      return { ends: "SubmitAmbiguousError", because: of.tag, times: [0], gaps: [] }
    case "fail":
      return { ends: of.tag, because: undefined, times: [0], gaps: [] }
  }
}

/** Runs a check for all operations at once on the test's clock, and compares what each came to. */
const forAll = (of: Case, names: ReadonlyArray<Operation>, ruleOf: (operation: Operation) => Rule, resubmit = false) =>
  Effect.gen(function* () {
    const outcomes = Effect.forEach(
      names,
      (name) => Effect.map(outcomeOf(name, of.fault, resubmit), (outcome) => [name, outcome] as const),
      { concurrency: "unbounded" }
    )
    assert.deepStrictEqual(
      Object.fromEntries(yield* finish(outcomes)),
      Object.fromEntries(names.map((name) => [name, expected(name, of, ruleOf(name))]))
    )
  })

describe("RunPodHttpClient: what is sent again", () => {
  for (const [name, of] of Object.entries(cases)) {
    it.effect(`every operation after ${name}`, () => forAll(of, operations, (operation) => of.row[rowOf[operation]]))

    if (of.row === unclear) {
      it.effect(`submits with \`resubmit\` are sent again after ${name}`, () =>
        forAll(of, ["run", "runSync"], () => "retry", true)
      )
    }
  }

  it.effect("an answer of an error without a job refuses a submit, a 2xx or not", () =>
    forAll({ row: refused, fault: json({ error: "no" }), tag: "BadRequestError" }, ["run", "runSync"], () => "fail")
  )

  it.effect("a refusal is not sent again with `resubmit` either", () =>
    forAll({ row: refused, fault: json({}, 400), tag: "BadRequestError" }, ["run", "runSync"], () => "fail", true)
  )

  it.effect("a doubt from an earlier attempt survives a later error that proves nothing about it", () =>
    Effect.gen(function* () {
      for (const last of [text(401), text(429, { "retry-after": "1" }), "refused"] as const) {
        const transport = Scripted.make(["reset", last])
        const submit = Effect.flatMap(RunPod.RunPod, (_) => _.run("ep", request, { resubmit: true }))
        const exit = yield* finish(Effect.exit(Effect.provide(submit, transport.layer())))
        assert.strictEqual(errorTag(exit), "SubmitAmbiguousError")
      }
    })
  )

  it.effect("a paused endpoint is asked again when the policy has a schedule for it", () =>
    Effect.gen(function* () {
      const paused = cases["409 of a paused endpoint"]!.fault
      const transport = Scripted.make([paused, paused, job])
      const retry = RetryPolicy.make({ whilePaused: Schedule.spaced("30 seconds") })
      yield* finish(Effect.provide(call("run"), transport.layer({ retry })))
      assert.deepStrictEqual(transport.times(), [0, 30_000, 60_000])
    })
  )
})
