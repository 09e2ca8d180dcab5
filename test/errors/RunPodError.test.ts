import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import * as ErrorBody from "effect-runpod/ErrorBody"
import * as RunPodError from "effect-runpod/RunPodError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import { makeScrub } from "../../src/internal/text/scrub.js"
import { safeCause } from "../../src/internal/http/transportCause.js"
import { anyText, body as anyBody } from "../support/arbitraries.js"

const submit: RunPodError.Context = {
  operation: "run",
  method: "POST",
  path: "/ep1/run",
  endpointId: "ep1",
  attempt: 1
}
const poll: RunPodError.Context = {
  operation: "status",
  method: "GET",
  path: "/ep1/status/job-1",
  endpointId: "ep1",
  jobId: "job-1",
  attempt: 1
}

const bytesOf = (text: string) => new TextEncoder().encode(text).byteLength

const refused = { retryable: false, throttled: false, withoutEffect: true }
const throttled = { retryable: true, throttled: true, withoutEffect: true }
const unclear = { retryable: true, throttled: false, withoutEffect: false }
const neverSent = { retryable: true, throttled: false, withoutEffect: true }
const final = { retryable: false, throttled: false, withoutEffect: false }

const factsOf = (error: RunPodError.RunPodError) => ({
  retryable: RunPodError.isRetryable(error),
  throttled: RunPodError.isThrottled(error),
  withoutEffect: RunPodError.provesNoEffect(error)
})

const problem = (status: number, title: string, detail?: string, code?: string) =>
  JSON.stringify({ status, title, detail, code })

describe("RunPodError.fromResponse", () => {
  type Tag = RunPodError.RunPodError["_tag"]
  it.each<[RunPodError.Context, number, string, Tag, string | undefined, object]>([
    [
      submit,
      401,
      problem(401, "Unauthorized", "no token provided"),
      "AuthenticationError",
      "no token provided",
      refused
    ],
    [submit, 401, `{"error":"unauthorized"}`, "AuthenticationError", "unauthorized", refused],
    [submit, 401, "", "AuthenticationError", undefined, refused],
    [submit, 403, `{"message":"Forbidden"}`, "PermissionDeniedError", "Forbidden", refused],
    [submit, 403, "<html>", "ServerError", undefined, unclear],
    [submit, 403, "", "ServerError", undefined, unclear],
    [poll, 403, "error code: 1020", "ServerError", "error code: 1020", unclear],
    [submit, 400, "{}", "BadRequestError", undefined, refused],
    [submit, 400, "", "ServerError", undefined, unclear],
    [submit, 400, "<html>400 The plain HTTP request was sent to HTTPS port</html>", "ServerError", undefined, unclear],
    [submit, 401, "<html>401 Authorization Required</html>", "ServerError", undefined, unclear],
    [submit, 401, "Unauthorized", "ServerError", "Unauthorized", unclear],
    [submit, 407, "<html>", "ServerError", undefined, unclear],
    [submit, 400, `{"error":"not allowed for QB API"}`, "BadRequestError", "not allowed for QB API", refused],
    [
      submit,
      400,
      `{"error":"wait is invalid; must be between 1000 and 300000"}`,
      "BadRequestError",
      "wait is invalid; must be between 1000 and 300000",
      refused
    ],
    [
      submit,
      400,
      problem(400, "Bad Request", "bad request: body: exceeded max body size of 10MiB"),
      "PayloadTooLargeError",
      "bad request: body: exceeded max body size of 10MiB",
      refused
    ],
    [
      submit,
      400,
      `{"error":"json is invalid; Max Size is 2 MB"}`,
      "PayloadTooLargeError",
      "json is invalid; Max Size is 2 MB",
      refused
    ],
    [submit, 413, "", "PayloadTooLargeError", undefined, refused],
    [submit, 413, "<html>", "PayloadTooLargeError", undefined, refused],
    [
      submit,
      404,
      problem(404, "Not Found", "endpoint not found"),
      "EndpointNotFoundError",
      "endpoint not found",
      refused
    ],
    [submit, 404, `{"message":"Not Found"}`, "EndpointNotFoundError", "Not Found", refused],
    [submit, 404, "", "ServerError", undefined, unclear],
    [submit, 404, "404 page not found", "ServerError", "404 page not found", unclear],
    [submit, 404, problem(404, "Not Found", "job not found"), "JobNotFoundError", "job not found", refused],
    [poll, 404, problem(404, "Not Found", "job not found"), "JobNotFoundError", "job not found", refused],
    [
      poll,
      404,
      problem(404, "Not Found", "request does not exist"),
      "JobNotFoundError",
      "request does not exist",
      refused
    ],
    [poll, 404, `{"error":"No such job"}`, "JobNotFoundError", "No such job", refused],
    // What frameworks and gateways say of a path they do not know says nothing of the job.
    [poll, 404, "", "ServerError", undefined, unclear],
    [poll, 404, "<html>404 Not Found</html>", "ServerError", undefined, unclear],
    [poll, 404, "{}", "ServerError", undefined, unclear],
    [poll, 404, `{"message":"Not Found"}`, "ServerError", "Not Found", unclear],
    [poll, 404, `{"detail":"Not Found"}`, "ServerError", "Not Found", unclear],
    [poll, 404, problem(404, "Not Found"), "ServerError", "Not Found", unclear],
    [
      poll,
      404,
      `{"message":"no Route matched with those values"}`,
      "ServerError",
      "no Route matched with those values",
      unclear
    ],
    [
      poll,
      404,
      `{"message":"Cannot GET /v2/ep1/status/job-1: it was not found"}`,
      "ServerError",
      "Cannot GET /v2/ep1/status/job-1: it was not found",
      unclear
    ],
    [
      poll,
      404,
      `{"message":"The request could not be routed"}`,
      "ServerError",
      "The request could not be routed",
      unclear
    ],
    // RunPod's own forms, of a job that exists.
    [poll, 401, problem(401, "Unauthorized", "invalid api key"), "AuthenticationError", "invalid api key", refused],
    [poll, 401, `{"error":"unauthorized"}`, "AuthenticationError", "unauthorized", refused],
    [poll, 401, "", "AuthenticationError", undefined, refused],
    [poll, 403, problem(403, "Forbidden"), "PermissionDeniedError", "Forbidden", refused],
    [poll, 400, problem(400, "Bad Request", "no"), "BadRequestError", "no", refused],
    [poll, 400, `{"error":"not allowed for QB API"}`, "BadRequestError", "not allowed for QB API", refused],
    [poll, 400, `{"id":"job-1","status":"FAILED","error":"odd"}`, "BadRequestError", "odd", refused],
    // Those of others: API Gateway, FastAPI, Spring, problem+json, Kong, oauth2-proxy, Cloudflare.
    [poll, 403, `{"message":"Forbidden"}`, "ServerError", "Forbidden", unclear],
    [poll, 401, `{"message":"Unauthorized"}`, "ServerError", "Unauthorized", unclear],
    [poll, 422, `{"detail":[{"msg":"field required"}]}`, "ServerError", `[{"msg":"field required"}]`, unclear],
    [poll, 400, `{"detail":"Bad Request"}`, "ServerError", "Bad Request", unclear],
    [
      poll,
      403,
      `{"timestamp":"2026-01-01T00:00:00Z","status":403,"error":"Forbidden","path":"/v2/ep1/status/job-1"}`,
      "ServerError",
      "Forbidden",
      unclear
    ],
    [poll, 410, `{"type":"about:blank","title":"Gone","status":410}`, "ServerError", "Gone", unclear],
    [poll, 401, `{"message":"No API key found in request"}`, "ServerError", "No API key found in request", unclear],
    [poll, 401, `{"error":"Unauthorized"}`, "ServerError", "Unauthorized", unclear],
    [poll, 403, `{"title":"Error 1010","status":403,"cloudflare_error":true}`, "ServerError", "Error 1010", unclear],
    [poll, 409, `{"error":"Conflict"}`, "ServerError", "Conflict", unclear],
    [poll, 400, `{"id":"job-2","status":"FAILED","error":"odd"}`, "ServerError", "odd", unclear],
    [poll, 404, `{"error":"Endpoint not found"}`, "EndpointNotFoundError", "Endpoint not found", refused],
    [
      submit,
      409,
      problem(409, "Conflict", "max_workers=0", "ENDPOINT_PAUSED"),
      "EndpointPausedError",
      "max_workers=0",
      refused
    ],
    [submit, 409, `{"error":"ENDPOINT_PAUSED"}`, "EndpointPausedError", "ENDPOINT_PAUSED", refused],
    [submit, 409, `{"detail":"Endpoint is paused."}`, "EndpointPausedError", "Endpoint is paused.", refused],
    [submit, 409, `{"detail":"job is running"}`, "BadRequestError", "job is running", refused],
    [submit, 409, "", "ServerError", undefined, unclear],
    [submit, 405, `{"message":"Method Not Allowed"}`, "BadRequestError", "Method Not Allowed", refused],
    [submit, 422, `{"detail":[{"msg":"field required"}]}`, "BadRequestError", `[{"msg":"field required"}]`, refused],
    [submit, 301, "", "ServerError", undefined, unclear],
    [poll, 302, `{"error":"moved"}`, "ServerError", "moved", unclear],
    [submit, 0, "", "ServerError", undefined, unclear],
    [submit, 99, "", "ServerError", undefined, unclear],
    [poll, 101, "", "ServerError", undefined, unclear],
    [submit, 429, "", "RateLimitedError", undefined, throttled],
    [poll, 429, `{"error":"Too many requests"}`, "RateLimitedError", "Too many requests", throttled],
    // The code of another error does not make it that error.
    [
      submit,
      429,
      problem(429, "x", "endpoint is paused", "ENDPOINT_PAUSED"),
      "RateLimitedError",
      "endpoint is paused",
      throttled
    ],
    [submit, 408, "", "ServerError", undefined, unclear],
    [poll, 500, problem(500, "Internal Server Error"), "ServerError", "Internal Server Error", unclear],
    [submit, 500, `{"error":"job not found"}`, "ServerError", "job not found", unclear],
    [submit, 502, "error code: 502", "ServerError", "error code: 502", unclear],
    [submit, 502, "", "ServerError", undefined, unclear],
    [submit, 503, "endpoint warming", "ServerError", "endpoint warming", unclear],
    [submit, 504, "<html>timeout</html>", "ServerError", undefined, unclear],
    [submit, 520, "", "ServerError", undefined, unclear],
    [submit, 524, `{"status":"COMPLETED","output":1}`, "ServerError", undefined, unclear]
  ])("%j: HTTP %d with %j is %s", (where, status, text, tag, detail, facts) => {
    const error = RunPodError.fromResponse(where, { status, text })
    assert.strictEqual(error._tag, tag)
    assert.strictEqual(error.detail, detail)
    assert.strictEqual(error.status, status)
    assert.strictEqual(error.body, text === "" ? undefined : text)
    assert.strictEqual(error.endpointId, "ep1")
    assert.deepStrictEqual(factsOf(error), facts)
    assert.isTrue(RunPodError.isRunPodError(error))
  })

  it("does not know why a job is not found", () => {
    const error = RunPodError.fromResponse(poll, { status: 404, text: problem(404, "Not Found", "job not found") })
    assert.strictEqual(error._tag === "JobNotFoundError" && error.reason, "Unknown")
  })

  it("names the job that an error's body describes, but not over the one that was asked for", () => {
    const response = { status: 400, text: `{"id":"sync-9","status":"FAILED","error":"width is odd"}` }
    assert.strictEqual(RunPodError.fromResponse(submit, response).jobId, "sync-9")
    assert.strictEqual(RunPodError.fromResponse(poll, response).jobId, "job-1")
  })

  it("keeps the Retry-After of a 429 and of a server's error", () => {
    for (const status of [429, 503, 408]) {
      const error = RunPodError.fromResponse(submit, { status, text: "", retryAfter: Duration.seconds(7) })
      assert.isTrue("retryAfter" in error && Duration.equals(error.retryAfter!, Duration.seconds(7)))
    }
  })

  it.each(["x", "ä", "日", "👍", "ab日👍"])("keeps 2 KiB of a body of %j, by bytes and whole characters", (unit) => {
    const { body } = RunPodError.fromResponse(submit, { status: 500, text: unit.repeat(5000) })
    assert.isAtMost(bytesOf(body!), 2048)
    assert.isAtLeast(bytesOf(body!), 2048 - 3)
    assert.isTrue(body!.isWellFormed())
  })

  it("keeps 512 bytes of the detail", () => {
    const error = RunPodError.fromResponse(submit, { status: 400, text: JSON.stringify({ error: "日".repeat(5000) }) })
    assert.strictEqual(bytesOf(error.detail!), 510)
    assert.isBelow(error.message.length, 1000)
  })

  it.each([
    `{"error":${"[".repeat(30_000)}${"]".repeat(30_000)}}`,
    `{"error":`.repeat(7000) + "1" + "}".repeat(7000),
    "[".repeat(60_000)
  ])("does not crash on deeply nested JSON (case %#)", (text) => {
    assert.strictEqual(RunPodError.fromResponse(submit, { status: 500, text })._tag, "ServerError")
  })

  it.prop(
    "makes an error of any status and body, refused only by RunPod itself",
    {
      status: FastCheck.integer({ min: 300, max: 599 }),
      body: FastCheck.oneof(
        anyBody.map((body) => JSON.stringify(body)),
        anyText()
      )
    },
    ({ body, status }) => {
      const error = RunPodError.fromResponse(submit, { status, text: body })
      assert.isTrue(RunPodError.isRunPodError(error))
      if (status >= 500) assert.strictEqual(error._tag, "ServerError")
      if (status === 429) assert.strictEqual(error._tag, "RateLimitedError")
      // A submit may have started something unless RunPod itself refused it.
      const { form } = ErrorBody.fromText(body)
      const isRunPods =
        form === "RunPod" || form === "Json" || [413, 429].includes(status) || (status === 401 && form === "Empty")
      const isRefused = status >= 400 && status < 500 && status !== 408 && isRunPods
      assert.strictEqual(RunPodError.provesNoEffect(error), isRefused)
      assert.isAtMost(bytesOf(error.body ?? ""), 2048)
      // A body of any status may name a job.
      assert.match(error.message, /^run(?: of job .+)? on endpoint ep1: /)
    },
    { fastCheck: { numRuns: 200 } }
  )
})

const all: ReadonlyArray<[RunPodError.RunPodError, object, RegExp]> = (() => {
  const at = { ...poll, status: 500, detail: "it broke", attempt: 3 }
  const cause = safeCause(new Error("socket hang up"), (text) => text)
  const timeout = { ...poll, phase: "Headers", timeout: Duration.seconds(30) } as const
  const transport = new RunPodError.TransportError({ ...submit, sent: "Maybe", cause })
  return [
    [new RunPodError.AuthenticationError(at), refused, /RUNPOD_API_KEY/],
    [new RunPodError.PermissionDeniedError(at), refused, /Give the key access/],
    [new RunPodError.BadRequestError(at), refused, /Correct the request/],
    [new RunPodError.BadRequestError({ ...submit, detail: "bad id" }), refused, /was not sent.*Correct it/],
    [
      new RunPodError.PayloadTooLargeError({ ...submit, size: 30, limit: 20 }),
      refused,
      /30 bytes, at most 20 are allowed.*submit its URL/
    ],
    [
      new RunPodError.BadRequestError({ ...submit, detail: "no cancel", reason: "Unsupported" }),
      refused,
      /no such operation, and nothing was sent\. No cancel\. RunPod itself has it\.$/
    ],
    [
      new RunPodError.BadRequestError({ ...submit, detail: "policy.ttl must be longer" }),
      refused,
      /was not sent\. policy\.ttl must be longer\./
    ],
    [new RunPodError.EndpointNotFoundError(at), refused, /Check the endpoint id/],
    [
      new RunPodError.EndpointNotFoundError({ ...submit, status: 404, body: `{"detail":"Not Found"}` }),
      refused,
      /--rp_serve_api, call it with `RunPod\.layerLocal`\.$/
    ],
    [
      new RunPodError.ServerError({ ...poll, status: 404, body: `{ "detail": "Not Found" }` }),
      unclear,
      /not RunPod's.*call it with `RunPod\.layerLocal`\.$/
    ],
    [new RunPodError.JobNotFoundError({ ...at, reason: "Expired" }), refused, /is gone.*read them sooner/],
    [new RunPodError.JobNotFoundError({ ...at, reason: "NotVisibleYet" }), refused, /not visible yet.*ask again/],
    [
      new RunPodError.JobNotFoundError({ ...at, reason: "Unknown" }),
      refused,
      /does not know the job.*belongs to another endpoint/
    ],
    [new RunPodError.BatchNotFoundError(at), refused, /does not know the batch.*List the endpoint's batches/],
    [new RunPodError.EndpointPausedError(at), refused, /maximum of workers above 0/],
    [
      new RunPodError.NoWorkerError(at),
      { retryable: true, throttled: false, withoutEffect: true },
      /no worker took the request.*keep one running/
    ],
    [
      new RunPodError.NoWorkerError({ ...at, workerId: "w1" }),
      { retryable: true, throttled: false, withoutEffect: true },
      /worker w1 did not take.*a new session/
    ],
    [new RunPodError.WorkerGoneError({ ...at, workerId: "w1" }), refused, /session, w1, is gone.*Begin a new session/],
    [
      new RunPodError.BudgetExceededError({ ...at, maxCost: 12, spent: 11.5, inFlight: 0.4, next: 0.0123 }),
      refused,
      /it was not sent: \$11\.50 of \$12\.00 were spent, jobs in flight may add \$0\.4000, and the next may cost \$0\.012300.* Wait until/
    ],
    [new RunPodError.RateLimitedError({ ...at, retryAfter: Duration.seconds(90) }), throttled, /Wait 1m 30s before/],
    [new RunPodError.RateLimitedError({ ...at, retryAfter: Duration.millis(624.6) }), throttled, /Wait 625ms before/],
    [new RunPodError.RateLimitedError(at), throttled, /Wait a while before/],
    [new RunPodError.ServerError(at), unclear, /gateway failed.*status page/],
    [new RunPodError.ServerError({ ...at, status: 200 }), unclear, /the answer is not JSON/],
    [
      new RunPodError.ServerError({ ...poll, status: 404, body: " <!doctype html>" }),
      unclear,
      /an HTML page came, which is not RunPod's answer \(HTTP 404\).*a proxy .* or the base URL is wrong/
    ],
    [new RunPodError.ServerError({ ...poll, status: 200, body: "<html>" }), unclear, /an HTML page came/],
    [new RunPodError.ServerError({ ...poll, status: 403 }), unclear, /an empty answer came that is not RunPod's/],
    [
      new RunPodError.ServerError({ ...poll, status: 404, body: "404" }),
      unclear,
      /an answer came that is not RunPod's/
    ],
    [new RunPodError.ServerError({ ...poll, status: 301 }), unclear, /a redirect came.*must begin with https/],
    [new RunPodError.ServerError({ ...poll, status: 0 }), unclear, /a redirect came, which is not followed\./],
    [new RunPodError.ServerError({ ...poll, status: 99 }), unclear, /a status that no answer has/],
    [new RunPodError.TransportError({ ...poll, sent: "No", cause }), neverSent, /nothing was sent.*Check the network/],
    [
      new RunPodError.TransportError({
        ...poll,
        sent: "No",
        cause: safeCause(Object.assign(new Error("no"), { code: "CERT_HAS_EXPIRED" }), (text) => text)
      }),
      refused,
      /\(CERT_HAS_EXPIRED\).*NODE_EXTRA_CA_CERTS/
    ],
    [
      new RunPodError.TransportError({
        ...poll,
        sent: "No",
        cause: safeCause(
          new TypeError("fetch failed", { cause: Object.assign(new Error("x"), { code: "ENOTFOUND" }) }),
          (text) => text
        )
      }),
      neverSent,
      /no connection could be made \(ENOTFOUND\), and nothing was sent.*check the base URL and DNS/
    ],
    [
      new RunPodError.TransportError({
        ...poll,
        sent: "No",
        cause: safeCause(new AggregateError([Object.assign(new Error("x"), { code: "EHOSTUNREACH" })]), (text) => text)
      }),
      neverSent,
      /\(EHOSTUNREACH\)/
    ],
    [
      new RunPodError.TransportError({
        ...poll,
        sent: "Maybe",
        cause: safeCause(new TypeError("a", { cause: new Error("cut") }), (text) => text)
      }),
      unclear,
      /before the answer was complete \(a \(cut\)\)/
    ],
    [
      new RunPodError.AuthenticationError({ ...poll, detail: "the API key is empty" }),
      refused,
      /no API key that can be sent.*\. The API key is empty\..*https:\/\/console\.runpod\.io.*emulator/
    ],
    [transport, unclear, /the connection broke.*may have acted/],
    [new RunPodError.RequestTimeoutError({ ...timeout, sent: "Maybe" }), unclear, /no answer for 30s.*may have acted/],
    [
      new RunPodError.RequestTimeoutError({ ...timeout, sent: "No" }),
      neverSent,
      /not sent within 30s.*nothing was sent/
    ],
    [new RunPodError.RequestTimeoutError({ ...timeout, phase: "Body", sent: "Maybe" }), unclear, /stood still for 30s/],
    [new RunPodError.DecodeError({ ...at, issue: "expected a job" }), final, /expected a job.*report it/],
    [
      new RunPodError.DecodeError({ ...at, issue: "Error: no", isUnread: true, jobStatus: "FAILED" }),
      final,
      /parseJson.*of a job that is FAILED, which is JSON: Error: no.*Correct `parseJson`/
    ],
    [
      new RunPodError.SubmitAmbiguousError({ ...submit, cause: transport }),
      final,
      /\(TransportError: .*resubmit: true/
    ],
    [new RunPodError.SubmitAmbiguousError(submit), final, /not known whether the job was started.*resubmit: true/]
  ]
})()

describe.each(all.map(([error, facts, message]) => [error._tag, error, facts, message] as const))(
  "%s",
  (_, error, facts, message) => {
    it("tells the retry policy what it is", () => {
      assert.deepStrictEqual(factsOf(error), facts)
    })

    it("says where and what happened, and ends with what to do", () => {
      const where = error.jobId === undefined ? "run on endpoint ep1: " : "status of job job-1 on endpoint ep1: "
      assert.isTrue(error.message.startsWith(where), error.message)
      assert.match(error.message, message)
      assert.match(error.message, /[A-Za-z)`]\.$/)
      assert.notMatch(error.message, /undefined|\.\.|\s\s/)
      if (error.attempt === 3) assert.include(error.message, " at attempt 3.")
      else assert.notInclude(error.message, "attempt")
    })

    it("reads back from what it encodes to", () => {
      const schema = error.constructor as unknown as Schema.Schema<RunPodError.RunPodError, unknown>
      const again = Schema.decodeUnknownSync(schema)(JSON.parse(JSON.stringify(Schema.encodeSync(schema)(error))))
      assert.strictEqual(again._tag, error._tag)
      assert.strictEqual(again.message, error.message)
      assert.isTrue(RunPodError.isRunPodError(again))
    })

    it("shows its message and its fields to every printer", () => {
      assert.include(Cause.pretty(Cause.fail(error)), error.message)
      assert.include(String(error), error.message)
      assert.include(inspect(error), error.message)
      assert.include(JSON.parse(JSON.stringify(error)), {
        _tag: error._tag,
        operation: error.operation,
        path: error.path
      })
    })
  }
)

describe("RunPodError", () => {
  it("ends a detail with one full stop only", () => {
    const of = (detail: string) => new RunPodError.BadRequestError({ ...submit, status: 400, detail }).message
    assert.include(of("it is odd"), " It is odd. Correct")
    assert.include(of("it is odd."), " It is odd. Correct")
    assert.include(of("is it odd?"), " Is it odd? Correct")
  })

  it("tells how long the server asked to wait, when it did", () => {
    const retryAfter = Duration.seconds(7)
    assert.strictEqual(RunPodError.retryAfter(new RunPodError.RateLimitedError({ ...poll, retryAfter })), retryAfter)
    assert.strictEqual(RunPodError.retryAfter(new RunPodError.ServerError({ ...poll, retryAfter })), retryAfter)
    assert.isUndefined(RunPodError.retryAfter(new RunPodError.RateLimitedError(poll)))
    assert.isUndefined(RunPodError.retryAfter(new RunPodError.BadRequestError(poll)))
  })

  it.each<[unknown]>([[undefined], [null], [new Error("x")], [{ _tag: "ServerError" }], ["ServerError"]])(
    "isRunPodError(%s) is false",
    (value) => {
      assert.isFalse(RunPodError.isRunPodError(value))
    }
  )

  it("prints nothing of a key, whatever printed it and wherever it was echoed", () => {
    const key = `rpa_7GZK"/&<Q0`
    const scrub = makeScrub([key])
    const echoes = [
      key,
      `<html>${key.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;")}</html>`,
      JSON.stringify({ error: `invalid api key ${key}`, id: `id ${key}`, code: key }),
      JSON.stringify({ error: { message: encodeURIComponent(key) } }),
      JSON.stringify({ [key]: [key, { detail: key }] }),
      JSON.stringify(JSON.stringify({ message: key }))
    ]
    const cause = safeCause(
      Object.assign(new Error(`to ${key}`, { cause: { message: key, request: { headers: { authorization: key } } } }), {
        request: { headers: { authorization: `Bearer ${key}` } }
      }),
      scrub
    )
    const transport = new RunPodError.TransportError({ ...submit, sent: "Maybe", cause })
    const errors = [
      ...[400, 401, 404, 409, 429, 500].flatMap((status) =>
        echoes.map((text) => RunPodError.fromResponse(submit, { status, text: scrub(text) }))
      ),
      transport,
      new RunPodError.SubmitAmbiguousError({ ...submit, cause: transport })
    ]
    for (const error of errors) {
      const texts = [
        error.message,
        String(error.stack),
        JSON.stringify(error),
        inspect(error, { depth: 20, showHidden: true, getters: true }),
        Cause.pretty(Cause.fail(error), { renderErrorCause: true }),
        Cause.pretty(Cause.die(error), { renderErrorCause: true }),
        JSON.stringify(Cause.fail(error))
      ]
      // Its first part stays whole in every way of writing it.
      for (const text of texts) assert.notInclude(text, "7GZK")
    }
  })
})
