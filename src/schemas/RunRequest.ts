/**
 * What a submit carries: the job's input and how RunPod is to run it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { isJsonObject } from "../internal/text/json.js"
import { sameJson } from "../internal/text/reply.js"
import { canBeSecret, makeScrub } from "../internal/text/scrub.js"

/** The schema of a duration between two others: any `DurationInput` here, whole milliseconds on the wire. */
const millisBetween = (
  name: string,
  min: Duration.DurationInput,
  max: Duration.DurationInput
): Schema.Schema<Duration.DurationInput, number> => {
  const check = (input: Duration.DurationInput) => {
    const duration = Duration.decode(input)
    if (Duration.between(duration, { minimum: min, maximum: max })) return undefined
    const millis = Duration.toMillis(duration)
    // `Duration.format` throws when the nanoseconds of a duration are no safe integer.
    const got = millis < Number.MAX_SAFE_INTEGER ? Duration.format(duration) : String(millis)
    return `${name} must be between ${Duration.format(min)} and ${Duration.format(max)}, got ${got}`
  }
  const [minimum, maximum] = [Duration.toMillis(min), Duration.toMillis(max)]
  return Schema.transformOrFail(
    Schema.Number.annotations({ jsonSchema: { type: "integer", minimum, maximum, description: "in milliseconds" } }),
    Schema.typeSchema(
      Schema.Unknown.pipe(
        Schema.filter((value): value is Duration.DurationInput => Option.isSome(Duration.decodeUnknown(value)), {
          identifier: "DurationInput",
          message: () => `${name} must be a duration, such as "30 seconds", or a number of milliseconds`
        }),
        Schema.filter((input) => check(input) ?? true, {
          arbitrary: () => (fc) =>
            fc
              .integer({ min: minimum, max: maximum })
              .chain((millis) =>
                fc.constantFrom<Duration.DurationInput>(millis, `${millis} millis`, Duration.millis(millis))
              ),
          equivalence: () => Duration.equals
        })
      )
    ),
    {
      strict: true,
      decode: (millis) => ParseResult.succeed(Duration.millis(millis)),
      encode: (input) => ParseResult.succeed(Math.round(Duration.toMillis(input)))
    }
  ).annotations({ identifier: name })
}

const Secret = Schema.transform(Schema.String, Schema.Union(Schema.String, Schema.RedactedFromSelf(Schema.String)), {
  strict: true,
  decode: (text) => Redacted.make(text),
  encode: (secret) => (Redacted.isRedacted(secret) ? Redacted.value(secret) : secret)
})

// `URL` accepts spaces around a URL and missing slashes, which RunPod may not.
const isHttpUrl = (url: string): boolean => /^https?:\/\/\S+$/i.test(url) && URL.canParse(url)

const Webhook = Schema.transform(Schema.String, Schema.Union(Schema.String, Schema.URLFromSelf), {
  strict: true,
  decode: (text) => text,
  encode: (url) => (typeof url === "string" ? url : url.href)
}).pipe(
  Schema.filter((url) => isHttpUrl(String(url)) || "the webhook must be an absolute http or https URL", {
    arbitrary: () => (fc) => fc.webUrl().chain((url) => fc.constantFrom<string | URL>(url, new URL(url)))
  }),
  Schema.annotations({ identifier: "webhook" })
)

const Input = Schema.typeSchema(
  Schema.Unknown.pipe(
    Schema.filter(
      (value): value is object =>
        isJsonObject(value) &&
        !(value instanceof Date || value instanceof Map || value instanceof Set || ArrayBuffer.isView(value)),
      {
        identifier: "input",
        message: () => "the input must be a JSON object: RunPod hands it to the handler as a dict",
        jsonSchema: { type: "object", minProperties: 1 },
        arbitrary: () => (fc) => fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 }),
        equivalence: () => sameJson
      }
    ),
    Schema.filter(
      (input) =>
        Object.keys(input).length > 0 ||
        "toJSON" in input ||
        "the input is empty: RunPod accepts {}, strips it, and fails the job minutes later; send at least one key"
    )
  )
)

/**
 * How long RunPod keeps and runs a job. Source of the ranges: RunPod's documentation of execution policies.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ExecutionPolicy = Schema.Struct({
  /** How long the job may run: 5 seconds to 7 days. RunPod's default: 10 minutes. Numbers are milliseconds. */
  executionTimeout: Schema.optional(millisBetween("executionTimeout", "5 seconds", "7 days")),
  /**
   * How long the job may exist, from its submit: 10 seconds to 7 days. RunPod's default: 24 hours. At its end the job
   * is deleted in any state, running included. Numbers are milliseconds.
   */
  ttl: Schema.optional(millisBetween("ttl", "10 seconds", "7 days")),
  /** Run the job only when no ordinary one waits. RunPod's default: false. */
  lowPriority: Schema.optional(Schema.Boolean)
}).annotations({ title: "an object with executionTimeout, ttl or lowPriority" })

/**
 * @since 0.1.0
 * @category models
 */
export interface ExecutionPolicy extends Schema.Schema.Type<typeof ExecutionPolicy> {}

/**
 * Where RunPod's worker stores large results. The credentials decode to `Redacted`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const S3Config = Schema.Struct({
  accessId: Secret,
  accessSecret: Secret,
  bucketName: Schema.NonEmptyString,
  endpointUrl: Schema.NonEmptyString,
  objectPath: Schema.optional(Schema.String)
}).annotations({ title: "an object with accessId, accessSecret, bucketName and endpointUrl" })

/**
 * @since 0.1.0
 * @category models
 */
export interface S3Config extends Schema.Schema.Type<typeof S3Config> {}

/**
 * The body of `/run` and `/runsync`. Encoding is strict: unknown keys, values out of range and empty inputs are refused.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RunRequest = Schema.Struct({
  /**
   * The job's input: a JSON object with at least one key. RunPod accepts an empty object, strips it, and fails the job
   * a minute or two later with "job timed out after 1 retries"; it is refused here instead.
   */
  input: Input,
  /** Where RunPod posts the job when it ends: an absolute http(s) URL. It belongs here; inside `input` it is ignored. */
  webhook: Schema.optional(Webhook),
  policy: Schema.optional(ExecutionPolicy),
  s3Config: Schema.optional(S3Config)
}).annotations({ title: "an object with an input" })

/**
 * @since 0.1.0
 * @category models
 */
export interface RunRequest extends Schema.Schema.Type<typeof RunRequest> {}

/**
 * How long a held request may wait: 1 second to 5 minutes (`wait` in milliseconds on the wire).
 *
 * @since 0.1.0
 * @category schemas
 */
export const Wait = millisBetween("wait", "1 second", "5 minutes")

const encodeWait = Schema.encodeUnknownEither(Wait)

/**
 * A held request's `wait` in whole milliseconds, or a sentence that says what is wrong with it.
 *
 * @since 0.1.0
 * @category encoding
 */
export const waitMillis = (wait: Duration.DurationInput): Either.Either<number, string> =>
  Either.mapLeft(encodeWait(wait), issueOf)

const encode = Schema.encodeUnknownEither(RunRequest, { onExcessProperty: "error" })

// Without the value that was found: it may be a secret.
const issueOf = (error: ParseResult.ParseError): string => {
  const issue = ParseResult.ArrayFormatter.formatErrorSync(error)[0]
  if (issue === undefined) return "the request is not valid"
  const message = issue.message.replace(/, actual [\s\S]*$/, "")
  return issue.path.length === 0 ? message : `${issue.path.join(".")}: ${message}`
}

/**
 * The text of a submit's body, or a sentence that says what is wrong with the request.
 *
 * @since 0.1.0
 * @category encoding
 */
export const toText = (request: RunRequest): Either.Either<string, string> =>
  Either.mapLeft(encode(request), issueOf).pipe(
    Either.flatMap((body) =>
      Either.try({
        try: () => JSON.stringify(body),
        catch: (cause) => {
          const why = cause instanceof Error ? cause.message : String(cause)
          return `input: it cannot be written as JSON: ${makeScrub(secretsOf(request))(why)}`
        }
      })
    ),
    Either.filterOrLeft(
      (text) => text.startsWith(`{"input":{"`),
      () => "input: once written as JSON it is not an object with at least one key"
    )
  )

/**
 * The strings of a request that must never be printed: S3 credentials, and the webhook's URL with its token.
 *
 * @since 0.1.0
 * @category combinators
 */
export const secretsOf = (request: RunRequest): ReadonlyArray<string> => {
  const { s3Config, webhook } = request
  const secrets = [s3Config?.accessId, s3Config?.accessSecret].flatMap((secret) =>
    secret === undefined ? [] : String(Redacted.isRedacted(secret) ? Redacted.value(secret) : secret)
  )
  if (webhook !== undefined) {
    const text = String(webhook)
    secrets.push(text)
    if (URL.canParse(text)) {
      const url = new URL(text)
      const parts = [url.href, url.username, url.password, url.hash.slice(1), ...url.searchParams.values()]
      secrets.push(...parts, ...url.pathname.split("/"))
    }
  }
  // Short parts ("v1", "hook") are no secrets, and messages without them could not be read.
  return secrets.filter(canBeSecret)
}
