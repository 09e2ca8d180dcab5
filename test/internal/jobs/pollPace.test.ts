import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import {
  AuthenticationError,
  BadRequestError,
  DecodeError,
  EndpointNotFoundError,
  JobNotFoundError,
  PermissionDeniedError,
  RateLimitedError,
  RequestTimeoutError,
  type RunPodError,
  ServerError,
  TransportError
} from "../../../src/errors/RunPodError.js"
import { holdAfter, meaningOf } from "../../../src/internal/jobs/pollPace.js"

const where = { operation: "status", method: "GET", path: "/ep/status/job-1" }
const notFound = new JobNotFoundError({ ...where, reason: "Unknown" })
const serverError = new ServerError({ ...where, status: 504 })
const timedOut = (phase: "Headers" | "Body") =>
  new RequestTimeoutError({ ...where, sent: "Maybe", phase, timeout: Duration.seconds(30) })

const unread = (jobStatus?: string) => new DecodeError({ ...where, issue: "no", isUnread: true, jobStatus })

const after = (error: RunPodError, held: number | undefined, took = 0, isNotVisibleYet = false) => ({
  error,
  held,
  took,
  isNotVisibleYet,
  failingFor: 0,
  isKnown: true
})

describe("what a failed poll says", () => {
  const rows: ReadonlyArray<readonly [name: string, error: RunPodError, plain: string, held: string]> = [
    ["a 400", new BadRequestError({ ...where, status: 400 }), "Definite", "NotHeld"],
    ["a 2xx error", new BadRequestError({ ...where, status: 200 }), "Passing", "NotHeld"],
    ["a 403", new PermissionDeniedError(where), "Definite", "Definite"],
    ["an unknown endpoint", new EndpointNotFoundError(where), "Definite", "NotHeld"],
    ["an unknown job", notFound, "Definite", "NotHeld"],
    ["a 429", new RateLimitedError(where), "Passing", "Passing"],
    ["a 504", serverError, "Passing", "Passing"],
    ["a reset", new TransportError({ ...where, sent: "Maybe", cause: "reset" }), "Passing", "Passing"],
    ["a 2xx that is no job", new DecodeError({ ...where, issue: "no id" }), "Passing", "Passing"],
    ["an end that `parseJson` refuses", unread("FAILED"), "Definite", "Definite"],
    ["a progress that it refuses", unread("IN_PROGRESS"), "Passing", "Passing"],
    ["an answer without a status that it refuses", unread(), "Passing", "Passing"]
  ]
  for (const [name, error, plain, held] of rows) {
    it(`${name}: ${plain}, after a hold ${held}`, () => {
      assert.deepStrictEqual([meaningOf(after(error, undefined)), meaningOf(after(error, 90_000))], [plain, held])
    })
  }

  it("a job that is not visible yet is waited for, held or not", () => {
    assert.strictEqual(meaningOf(after(notFound, undefined, 0, true)), "Passing")
    assert.strictEqual(meaningOf(after(notFound, 90_000, 0, true)), "Passing")
  })
})

describe("a 401", () => {
  const silent = after(new AuthenticationError({ ...where, status: 401 }), undefined)

  it("without a body can be a gateway's for five minutes, where RunPod has accepted the key", () => {
    assert.strictEqual(meaningOf(silent), "Passing")
    assert.strictEqual(meaningOf({ ...silent, failingFor: 299_999 }), "Passing")
    assert.strictEqual(meaningOf({ ...silent, failingFor: 300_000 }), "Definite")
    assert.strictEqual(meaningOf({ ...silent, isKnown: false }), "Definite")
  })

  it("with RunPod's words is definite", () => {
    const error = new AuthenticationError({ ...where, status: 401, body: `{"error":"unauthorized"}` })
    assert.strictEqual(meaningOf({ ...silent, error }), "Definite")
  })
})

describe("how long to hold after a failed poll", () => {
  it("a fifth less than the hold that was cut, and no less than 5 s", () => {
    assert.strictEqual(holdAfter(after(serverError, 90_000, 30_000), 90_000), 24_000)
    assert.strictEqual(holdAfter(after(serverError, 90_000, 5_500), 90_000), 5_000)
  })

  it("never longer than before", () => {
    assert.strictEqual(holdAfter(after(serverError, 20_000, 60_000), 10_000), 10_000)
  })

  it("as long as before when the poll was plain, failed early, was refused, or stood still in its body", () => {
    assert.strictEqual(holdAfter(after(serverError, undefined, 30_000), 90_000), 90_000)
    assert.strictEqual(holdAfter(after(serverError, 90_000, 4_000), 90_000), 90_000)
    assert.strictEqual(holdAfter(after(new RateLimitedError(where), 90_000, 30_000), 90_000), 90_000)
    assert.strictEqual(holdAfter(after(timedOut("Body"), 90_000, 30_000), 90_000), 90_000)
    assert.strictEqual(holdAfter(after(timedOut("Headers"), 90_000, 100_000), 90_000), 72_000)
  })
})
