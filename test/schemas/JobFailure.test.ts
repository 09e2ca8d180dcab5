import { assert, describe, it } from "@effect/vitest"
import * as JobFailure from "effect-runpod/JobFailure"
import * as FastCheck from "effect/FastCheck"
import { json } from "../support/arbitraries.js"

const traceback = `Traceback (most recent call last):\n  File "/src/rp_handler.py", line 12, in handler\nValueError: width is odd`

const python = {
  error_type: "<class 'ValueError'>",
  error_message: "width is odd",
  error_traceback: traceback,
  hostname: "p4x1n8c6t0ab2k-64410c2f",
  worker_id: "p4x1n8c6t0ab2k",
  runpod_version: "1.7.9"
}

const ofPython: Omit<JobFailure.JobFailure, "raw"> = {
  reason: "Handler",
  message: "width is odd",
  errorType: "ValueError",
  traceback,
  hostname: "p4x1n8c6t0ab2k-64410c2f",
  workerId: "p4x1n8c6t0ab2k",
  runpodVersion: "1.7.9"
}

const platform = (reason: JobFailure.Reason, message: string) => ({ reason, message })
const handler = (message: string) => platform("Handler", message)

describe("JobFailure.fromError", () => {
  it.each<[string, unknown, Omit<JobFailure.JobFailure, "raw">]>([
    ["nothing", undefined, { reason: "Handler" }],
    ["null", null, { reason: "Handler" }],
    ["an empty string", " \n", { reason: "Handler" }],
    ["a sentence", "width is odd", handler("width is odd")],
    ["a sentence with spaces around it", "  width is odd\n", handler("width is odd")],
    ["a sentence in another script", "宽度必须是偶数: 63", handler("宽度必须是偶数: 63")],
    ["the platform's timeout", "executionTimeout exceeded", platform("ExecutionTimeout", "executionTimeout exceeded")],
    [
      "the platform's last retry",
      "job timed out after 1 retries",
      platform("RetriesExhausted", "job timed out after 1 retries")
    ],
    [
      "the platform's last of many retries",
      "job timed out after 12 retries",
      platform("RetriesExhausted", "job timed out after 12 retries")
    ],
    // Only texts that are known word for word are the platform's.
    ["a handler that speaks of a timeout", "my executionTimeout exceeded", handler("my executionTimeout exceeded")],
    ["other capitals", "ExecutionTimeout exceeded", handler("ExecutionTimeout exceeded")],
    ["a handler that counts", "job timed out after x retries", handler("job timed out after x retries")],
    ["JSON in a string", JSON.stringify(python), ofPython],
    ["JSON in a string, with spaces around it", ` ${JSON.stringify(python)}\n`, ofPython],
    ["JSON in a string, of one key", `{"error_message":"m"}`, handler("m")],
    ["JSON in a string without a message", `{"code":7}`, handler(`{"code":7}`)],
    ["JSON in a string that is cut off", `{"error_message":"m`, handler(`{"error_message":"m`)],
    ["an array in a string", `["a"]`, handler(`["a"]`)],
    ["an object", python, ofPython],
    ["an object with a message", { message: "m", type: "Oops" }, { ...handler("m"), errorType: "Oops" }],
    ["an object in an error", { error: "m", traceback: "t" }, { ...handler("m"), traceback: "t" }],
    ["an object with a detail", { detail: "d", title: "t" }, handler("d")],
    ["an object without a message", { code: 7 }, handler(`{"code":7}`)],
    [
      "an object of wrong types",
      { error_message: 5, error_type: null },
      handler(`{"error_message":5,"error_type":null}`)
    ],
    ["an empty object", {}, handler("{}")],
    ["a number", 137, handler("137")],
    ["false", false, handler("false")],
    ["an array", ["a", 1], handler(`["a",1]`)],
    ["a class name of its own", { message: "m", error_type: "cuda.OOM" }, { ...handler("m"), errorType: "cuda.OOM" }],
    [
      "a generator's message and trace",
      `handler: width is odd \ntraceback: ${traceback}`,
      { ...handler("width is odd"), traceback }
    ],
    [
      "a generator's message of two lines",
      `handler: width is odd\nheight is odd\n\ntraceback: ${traceback}`,
      { ...handler("width is odd\nheight is odd"), traceback }
    ],
    ["a generator's trace without a message", `handler: \ntraceback: t`, { reason: "Handler", traceback: "t" }],
    ["a generator's message without a trace", "handler: width is odd", handler("handler: width is odd")],
    [
      "a trace whose text says traceback again",
      "handler: m\ntraceback: a\ntraceback: b",
      { ...handler("m"), traceback: "a\ntraceback: b" }
    ],
    ["a trace somewhere else", "the handler: m \ntraceback: t", handler("the handler: m \ntraceback: t")]
  ])("reads %s", (_, error, expected) => {
    assert.deepStrictEqual(JobFailure.fromError(error), { ...expected, raw: error })
  })

  it.prop(
    "never throws, always gives a reason, and keeps the value as it came",
    { error: FastCheck.oneof(json, FastCheck.anything({ withBigInt: true, withDate: true, withMap: true })) },
    ({ error }) => {
      const failure = JobFailure.fromError(error)
      assert.isTrue(Object.is(failure.raw, error))
      assert.oneOf(failure.reason, ["Handler", "ExecutionTimeout", "RetriesExhausted"])
      if (failure.message !== undefined) assert.isString(failure.message)
    },
    { fastCheck: { numRuns: 200 } }
  )

  it.prop(
    "reads the same from JSON in a string as from the object",
    { error: FastCheck.dictionary(FastCheck.constantFrom(...Object.keys(python), "message", "x"), json) },
    ({ error }) => {
      const { message: _, raw: __, ...inString } = JobFailure.fromError(JSON.stringify(error))
      const { message: ___, raw: ____, ...inObject } = JobFailure.fromError(error)
      assert.deepStrictEqual(inString, inObject)
    }
  )

  it("does not crash on deeply nested JSON", () => {
    const deep = `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`
    const error: unknown = JSON.parse(deep)
    assert.strictEqual(JobFailure.fromError(error).raw, error)
    assert.strictEqual(JobFailure.fromError(deep).raw, deep)
  })

  it("reads a long message of white space in no time", { timeout: 2_000 }, () => {
    JobFailure.fromError(`handler: ${"\n".repeat(1_000_000)}x`)
    JobFailure.fromError(`handler: ${" \n".repeat(1_000_000)}traceback: x`)
  })
})
