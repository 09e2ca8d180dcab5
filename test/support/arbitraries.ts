import * as FastCheck from "effect/FastCheck"

/** Any code point but half a pair. The `unit` "binary" of `string` is the same, and builds a map of all of them first: 0.5 s. */
const codePoint = FastCheck.integer({ min: 0, max: 0x10_ff_ff - 0x8_00 }).map((n) =>
  String.fromCodePoint(n < 0xd8_00 ? n : n + 0x8_00)
)

/** Texts of any code points. */
export const anyText = (size: FastCheck.StringSharedConstraints = {}): FastCheck.Arbitrary<string> =>
  FastCheck.string({ ...size, unit: codePoint })

/** Any value `JSON.parse` can return. */
export const json: FastCheck.Arbitrary<unknown> = FastCheck.jsonValue({ depthSize: "small" })

/** JSON objects that look like RunPod's answers: the keys are right, the values are right, wrong or missing. */
export const reply: FastCheck.Arbitrary<unknown> = FastCheck.record(
  {
    id: FastCheck.oneof(FastCheck.constantFrom("9c1d-u1", "sync-77-e2", "", " ", ".", "..", "a\u0000b"), json),
    status: FastCheck.oneof(
      FastCheck.constantFrom("IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT", "PAUSED", ""),
      json
    ),
    delayTime: FastCheck.oneof(FastCheck.nat(), json),
    executionTime: FastCheck.oneof(FastCheck.nat(), json),
    workerId: FastCheck.oneof(FastCheck.string(), json),
    retries: FastCheck.oneof(FastCheck.nat(), json),
    output: json,
    error: json,
    message: json,
    detail: json,
    title: json,
    code: json,
    input: json,
    webhook: FastCheck.oneof(FastCheck.webUrl(), json),
    s3Config: json,
    stream: FastCheck.oneof(
      FastCheck.array(FastCheck.oneof(FastCheck.record({ output: json, metrics: json }, { requiredKeys: [] }), json)),
      json
    ),
    requests: FastCheck.oneof(FastCheck.array(json), json),
    jobs: FastCheck.oneof(FastCheck.dictionary(FastCheck.constantFrom("completed", "inQueue", "retried"), json), json),
    workers: FastCheck.oneof(FastCheck.dictionary(FastCheck.constantFrom("idle", "ready", "running"), json), json),
    removed: FastCheck.oneof(FastCheck.nat(), json)
  },
  { requiredKeys: [] }
)

/** A body of any kind. */
export const body: FastCheck.Arbitrary<unknown> = FastCheck.oneof(reply, json)
