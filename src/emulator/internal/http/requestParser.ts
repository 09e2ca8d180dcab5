import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import { isJsonObject, type JsonObject } from "../../../internal/text/json.js"
import type { JobRequest } from "../jobs/model.js"

const second = 1000
const sevenDays = 7 * 24 * 3600 * second

/** RunPod's defaults and ranges, in milliseconds. */
const policyFields = {
  executionTimeout: { initial: 600 * second, min: 5 * second, max: sevenDays },
  ttl: { initial: 24 * 3600 * second, min: 10 * second, max: sevenDays }
}

/** `Left` is what RunPod says of a body that is no JSON, after its "bad request: "; so it is below. */
export const parseJson = (text: string): Either.Either<unknown, string> =>
  Either.try({ try: (): unknown => JSON.parse(text), catch: () => "body: invalid json" })

const readMillis = (name: keyof typeof policyFields, policy: JsonObject): Either.Either<number, string> => {
  const { initial, max, min } = policyFields[name]
  const value = policy[name]
  if (value === undefined || value === null) return Either.right(initial)
  if (!Number.isInteger(value)) return Either.left(`policy.${name}: must be an integer`)
  return typeof value === "number" && value >= min && value <= max
    ? Either.right(value)
    : Either.left(`policy.${name}: must be between ${min} and ${max}`)
}

const readPolicy = (policy: unknown) =>
  Either.gen(function* () {
    const fields = policy ?? {}
    if (!isJsonObject(fields)) return yield* Either.left("policy: must be an object")
    const executionTimeout = yield* readMillis("executionTimeout", fields)
    const ttl = yield* readMillis("ttl", fields)
    return { executionTimeout, ttl, lowPriority: fields["lowPriority"] === true }
  })

/** Reads the body of a submit, or a request of a batch. */
export const readJobRequest = (body: unknown): Either.Either<JobRequest, string> =>
  Either.gen(function* () {
    if (!isJsonObject(body)) return yield* Either.left("body: must be a json object")
    const { input, policy, s3Config, webhook } = body
    if (input === undefined || input === null) return yield* Either.left("input: is required")
    if (!isJsonObject(input)) return yield* Either.left("input: must be a json object")
    return {
      input,
      webhook: typeof webhook === "string" ? Redacted.make(webhook) : undefined,
      s3Config: isJsonObject(s3Config) ? Redacted.make(s3Config) : undefined,
      ...(yield* readPolicy(policy))
    }
  })
