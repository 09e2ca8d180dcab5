import { assert, describe, it } from "@effect/vitest"
import * as ErrorBody from "effect-runpod/ErrorBody"

const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth)

describe("ErrorBody.fromText", () => {
  it.each<[string, Omit<ErrorBody.ErrorBody, "form">]>([
    ["", {}],
    [" \n ", {}],
    ["{}", {}],
    ["null", {}],
    ["[]", {}],
    ["502", {}],
    ["error code: 502", { detail: "error code: 502" }],
    ["  endpoint warming\n", { detail: "endpoint warming" }],
    ["<html><body>Bad Gateway</body></html>", {}],
    ["\ufeff\n<!DOCTYPE html>", {}],
    [`"no token"`, { detail: "no token" }],
    [`{"status":404,"title":"Not Found","detail":"job not found"}`, { detail: "job not found" }],
    [`{"status":500,"title":"Internal Server Error"}`, { detail: "Internal Server Error" }],
    [`{"error":"unauthorized"}`, { detail: "unauthorized" }],
    [`{"message":"Not Found"}`, { detail: "Not Found" }],
    [`{"detail":"slow down"}`, { detail: "slow down" }],
    [`{"title":"T","detail":"D","message":"M","error":"E"}`, { detail: "E" }],
    [`{"title":"T","detail":"D","message":"M"}`, { detail: "M" }],
    [`{"title":"T","detail":"D"}`, { detail: "D" }],
    [`{"error":"","message":" ","detail":null,"title":"T"}`, { detail: "T" }],
    [`{"error":{"message":"M","code":"c"}}`, { detail: "M" }],
    [`{"error":{"detail":"D"}}`, { detail: "D" }],
    [`{"error":{"reason":"R"}}`, { detail: `{"reason":"R"}` }],
    [`{"error":["a","b"]}`, { detail: `["a","b"]` }],
    [`{"detail":[{"loc":["body"],"msg":"field required"}]}`, { detail: `[{"loc":["body"],"msg":"field required"}]` }],
    [`["a"]`, { detail: `["a"]` }],
    [`{"error":500,"detail":"D"}`, { detail: "D" }],
    [`{"code":"ENDPOINT_PAUSED","detail":"max_workers=0"}`, { code: "ENDPOINT_PAUSED", detail: "max_workers=0" }],
    [`{"code":7,"detail":"D"}`, { detail: "D" }],
    [`{"id":"sync-3e-u1","status":"FAILED","error":"width is odd"}`, { detail: "width is odd", jobId: "sync-3e-u1" }],
    [`{"id":"..","status":"FAILED"}`, {}],
    [`{"id":9,"error":"E"}`, { detail: "E" }],
    [`{"error":"unfinished`, { detail: `{"error":"unfinished` }]
  ])("reads %j", (text, expected) => {
    const { form: _, ...said } = ErrorBody.fromText(text)
    assert.deepStrictEqual(said, expected)
  })

  it.each<[ErrorBody.ErrorBody["form"], ReadonlyArray<string>]>([
    ["Empty", ["", " \n "]],
    ["Html", ["<html><body>Bad Gateway</body></html>", "\ufeff\n<!DOCTYPE html>", `<?xml version="1.0"?>`]],
    [
      "Other",
      ["404 page not found", "error code: 502", `"no token"`, `["a"]`, "[]", "null", "502", `{"error":"unfinished`]
    ],
    // A gateway's JSON, with none of RunPod's fields in it.
    [
      "Other",
      [`{"success":false,"errors":[{"code":1015}]}`, `{"id":"..","status":"FAILED"}`, `{"title":" ","code":7}`]
    ],
    // Of many servers.
    ["Json", [`{"message":"Not Found"}`, `{"detail":[{"msg":"field required"}]}`, "{}", `{"error":"Unauthorized"}`]],
    ["Json", [`{"status":403,"error":"Forbidden","path":"/"}`, `{"title":"Gone","status":410,"type":"about:blank"}`]],
    [
      "Json",
      [`{"error":"unauthorized","message":"no"}`, `{"status":"fail","message":"no"}`, `{"status":404,"detail":"x"}`]
    ],
    ["RunPod", [`{"error":"unauthorized"}`, `{"error":"wait is invalid; must be between 1000 and 300000"}`]],
    ["RunPod", [`{"status":500,"title":"Internal Server Error"}`, `{"id":"a","status":"FAILED","error":"odd"}`]],
    ["RunPod", [`{"status":409,"title":"Conflict","detail":"paused","code":"ENDPOINT_PAUSED"}`]]
  ])("tells that it is %s: %j", (form, texts) => {
    for (const text of texts) assert.strictEqual(ErrorBody.fromText(text).form, form, text)
  })

  it.each([
    [`{"error":{"a":${nested(30_000)}}}`],
    [`{"message":${nested(30_000)}}`],
    [nested(30_000)],
    [`{"error":`.repeat(20_000) + "1" + "}".repeat(20_000)]
  ])("does not crash on deeply nested JSON (case %#)", (text) => {
    assert.doesNotThrow(() => ErrorBody.fromText(text))
  })
})
