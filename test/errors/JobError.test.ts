import { assert, describe, it } from "@effect/vitest"
import * as AppendError from "effect-runpod/AppendError"
import * as JobError from "effect-runpod/JobError"
import { NodeEmulator } from "effect-runpod/Node"
import * as RunPodError from "effect-runpod/RunPodError"
import * as WebhookError from "effect-runpod/WebhookError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

const same = (text: string) => text

const failed = (error: unknown) => {
  const made = JobError.fromJob(
    "ep",
    { id: "job-1", status: "FAILED", error, output: { secret: "internal" }, workerId: "w-1", raw: {} } as never,
    same
  )
  assert(made?._tag === "JobFailedError")
  return made
}

const undecodable = (output: unknown) =>
  new JobError.OutputDecodeError({ endpointId: "ep", jobId: "job-1", issue: `["image"] is missing`, output }).message

describe("OutputDecodeError", () => {
  it("shows the beginning of the value", () => {
    assert.include(
      undecodable({ images: ["a"] }),
      `returned {"images":["a"]}, which the endpoint's schema does not accept`
    )
    assert.include(undecodable({ images: ["a"] }), "Correct the schema")
  })

  it.each([
    [{ error: "CUDA out of memory" }],
    [{ error: { message: "CUDA out of memory" } }],
    [{ error_message: "CUDA out of memory", error_type: "RuntimeError" }],
    [{ status: "error", message: "CUDA out of memory" }],
    [[{ code: 400, message: "CUDA out of memory", object: "error" }]]
  ])("says that it looks like an error of the worker: %j", (output) => {
    assert.match(undecodable(output), /returned .*CUDA out of memory.*looks like an error of the worker/)
  })

  it.each([[{ error: null, image: 1 }], [{ error: false }], ["error"], [[]], [null], [7]])(
    "does not of %j",
    (output) => {
      assert.notInclude(undecodable(output), "error of the worker")
    }
  )

  it("is short and quick whatever the value is", () => {
    let deep: unknown = 1
    for (let i = 0; i < 100_000; i++) deep = { deep }
    for (const output of [deep, "x".repeat(20_000_000), Array.from({ length: 1_000_000 }, (_, n) => n), { n: 10n }]) {
      assert.isBelow(undecodable(output).length, 700)
    }
  })
})

describe("JobError.toPublic", () => {
  const traceback = `Traceback (most recent call last):\n  File "/app/handler.py", line 3, in handler\nValueError: the prompt is empty`

  it.each<[unknown, string]>([
    ["the prompt is empty", "the job failed: the prompt is empty"],
    [
      JSON.stringify({ error_type: "<class 'ValueError'>", error_message: "empty", error_traceback: traceback }),
      "the job failed: empty"
    ],
    [`handler: the prompt is empty \ntraceback: ${traceback}`, "the job failed: the prompt is empty"],
    [traceback, "the job failed: ValueError: the prompt is empty"],
    [`it broke\n${traceback}`, "the job failed: it broke"],
    [JSON.stringify({ code: 7, error_traceback: traceback }), "the job failed"],
    ["TypeError: x\n    at handler (/app/handler.js:3:1)", "the job failed: TypeError: x"],
    [undefined, "the job failed"]
  ])("of %j says what happened, and nothing of the worker's inside", (error, message) => {
    const shown = JobError.toPublic(failed(error))
    assert.strictEqual(shown.message, message)
    assert.strictEqual(shown.jobId, "job-1")
    const text = JSON.stringify(shown)
    for (const inside of ["/app", "Traceback", "traceback", "internal", "w-1", `"ep"`]) assert.notInclude(text, inside)
    assert.deepStrictEqual(Schema.decodeUnknownSync(JobError.PublicJobError)(JSON.parse(text)), shown)
  })

  it("is there for every kind of error", () => {
    const errors: ReadonlyArray<JobError.JobError> = [
      new JobError.JobCancelledError({ endpointId: "ep", jobId: "job-1" }),
      new JobError.JobTimedOutError({ endpointId: "ep", jobId: "job-1", error: traceback }),
      new JobError.OutputMissingError({ endpointId: "ep", jobId: "job-1" }),
      new JobError.OutputDecodeError({ endpointId: "ep", jobId: "job-1", issue: "wrong", output: "internal" }),
      new JobError.WaitTimeoutError({ endpointId: "ep", jobId: "job-1", elapsed: Duration.seconds(1), cancel: "No" })
    ]
    for (const error of errors) {
      const { message, ...rest } = JobError.toPublic(error)
      assert.deepStrictEqual(rest, { error: error._tag, jobId: "job-1" })
      assert.match(message, /^the job /)
    }
  })
})

it("an error prints without frames, which would all be the library's", () => {
  const { stackTraceLimit } = Error
  const error = failed("no")
  assert.strictEqual(error.stack, `JobFailedError: ${error.message}`)
  const others = [
    new WebhookError.WebhookSetupError({ detail: "no" }),
    new AppendError.AppendError({
      endpointId: "ep",
      batchId: "batch-1",
      parts: [],
      cause: RunPodError.fromResponse(
        { operation: "appendBatch", method: "POST", path: "/ep/batch/batch-1/requests", endpointId: "ep", attempt: 1 },
        { status: 500, text: "" }
      )
    }),
    new NodeEmulator.ServeError({ host: "::", port: 1, cause: undefined })
  ]
  for (const other of others) assert.strictEqual(other.stack, `${other._tag}: ${other.message}`)
  assert.strictEqual(Cause.pretty(Cause.fail(error)), `JobFailedError: ${error.message}`)
  assert.strictEqual(Error.stackTraceLimit, stackTraceLimit)
  assert.include(new Error("another").stack ?? "", "    at ")
})
