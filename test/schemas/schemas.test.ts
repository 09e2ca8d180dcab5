import { assert, describe, it } from "@effect/vitest"
import * as Core from "effect-runpod"
import * as Arbitrary from "effect/Arbitrary"
import * as JSONSchema from "effect/JSONSchema"
import * as Pretty from "effect/Pretty"
import * as Schema from "effect/Schema"

const isSchema = (value: unknown): value is Schema.Schema<unknown> => Schema.isSchema(value)

/** Every schema that a public module exports, errors included. */
const schemas = Object.entries(Core).flatMap(([module, exports]) =>
  Object.entries(exports).flatMap(([name, value]): ReadonlyArray<[string, Schema.Schema<unknown>]> =>
    isSchema(value) ? [[`${module}.${name}`, value]] : []
  )
)

const runs = { fastCheck: { numRuns: 30 } }

it("all of them are found", () => {
  const names = schemas.map(([name]) => name)
  assert.includeMembers(names, [
    "Job.Job",
    "Job.SyncJob",
    "JobId.JobId",
    "JobStatus.JobStatus",
    "EndpointId.EndpointId",
    "StreamChunk.StreamChunk",
    "StreamChunk.StreamReply",
    "Health.Health",
    "RequestList.RequestList",
    "PurgeResult.PurgeResult",
    "WebhookEvent.WebhookEvent",
    "RemoteBatch.RemoteBatch",
    "RemoteBatch.BatchPage",
    "RunRequest.RunRequest",
    "RunRequest.ExecutionPolicy",
    "RunRequest.S3Config",
    "QueueDiagnosis.QueueDiagnosis",
    "JournalEntry.Entry",
    "RunPodError.SubmitAmbiguousError",
    "JobError.WaitTimeoutError",
    "WebhookError.WebhookTokenExpiredError"
  ])
})

describe.each(schemas)("the schema %s", (_, schema) => {
  const value = Arbitrary.make(schema)

  it.prop(
    "has arbitrary values that are its own, equal to themselves, and can be shown",
    { value },
    ({ value }) => {
      assert.isTrue(Schema.is(schema)(value))
      assert.isTrue(Schema.equivalence(schema)(value, value))
      assert.isString(Pretty.make(schema)(value))
    },
    runs
  )

  it.prop(
    "decodes what it encoded to a value that encodes the same",
    { value },
    ({ value }) => {
      const encoded = Schema.encodeSync(schema)(value)
      const again = Schema.decodeUnknownSync(schema)(encoded)
      assert.deepStrictEqual(Schema.encodeSync(schema)(again), encoded)
    },
    runs
  )

  it("has a JSON Schema", () => {
    const {
      $defs = {},
      $ref,
      ...inline
    } = JSONSchema.make(schema) as JSONSchema.JsonSchema7Ref & JSONSchema.JsonSchema7Root
    const described = $ref === undefined ? inline : $defs[$ref.replace("#/$defs/", "").replaceAll("~1", "/")]!
    assert.isTrue("type" in described || "anyOf" in described || "allOf" in described)
  })
})

it("jobs are equal when all of their JSON is", () => {
  const same = Schema.equivalence(Core.Job.Job)
  const read = (output: unknown) =>
    Schema.decodeUnknownSync(Core.Job.Job)({ id: "j-1", status: "COMPLETED", output, webhook: "https://a.example" })
  assert.isTrue(same(read({ a: [1, { b: null }] }), read({ a: [1, { b: null }] })))
  assert.isFalse(same(read({ a: [1, { b: null }] }), read({ a: [1, { b: 0 }] })))
})

const propertiesOf = (schema: Schema.Schema.Any, name: string) => {
  const described = JSONSchema.make(schema).$defs![name] as JSONSchema.JsonSchema7Object
  return { required: described.required, properties: Object.keys(described.properties).sort() }
}

describe("a JSON Schema describes what is on the wire", () => {
  it("of a job", () => {
    const { properties, required } = propertiesOf(Core.Job.Job, "Job")
    assert.deepStrictEqual(required, ["id", "status"])
    assert.includeMembers(properties, ["delayTime", "error", "executionTime", "output", "retries", "workerId"])
    assert.notInclude(properties, "raw")
  })

  it("of a list of jobs, which refers to that of a job", () => {
    const { $defs } = JSONSchema.make(Core.RequestList.RequestList)
    assert.hasAllKeys($defs, ["RequestList", "Job", "JobStatus"])
    const { requests } = ($defs!["RequestList"] as JSONSchema.JsonSchema7Object).properties
    assert.deepInclude((requests as JSONSchema.JsonSchema7AnyOf).anyOf, {
      type: "array",
      items: { $ref: "#/$defs/Job" }
    })
  })

  it("of health, where all may be missing and more may come", () => {
    const { $defs } = JSONSchema.make(Core.Health.Health)
    const health = $defs!["Health"] as JSONSchema.JsonSchema7Object
    assert.deepStrictEqual(health.required, [])
    assert.deepStrictEqual(Object.keys(health.properties), ["jobs", "workers"])
    assert.isObject(health.additionalProperties)
  })

  it("of a submit, with the ranges of its policy in milliseconds", () => {
    const { $defs, ...request } = JSONSchema.make(Core.RunRequest.RunRequest)
    assert.deepInclude(request, { type: "object", required: ["input"] })
    assert.deepInclude({ ...$defs!["input"] }, { type: "object", minProperties: 1 })
    assert.deepInclude({ ...$defs!["ttl"] }, { type: "integer", minimum: 10_000, maximum: 604_800_000 })
  })
})
