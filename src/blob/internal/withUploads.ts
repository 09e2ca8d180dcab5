import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { JobError } from "../../errors/JobError.js"
import { provesNoEffect, type RunPodError } from "../../errors/RunPodError.js"
import { failureOf } from "../../internal/effect/cause.js"
import { isPlainObject } from "../../internal/text/json.js"
import type { S3Config } from "../../schemas/RunRequest.js"
import type { CallOptions, MadeEndpoint, RunOptions } from "../../services/Endpoint.js"
import type { Uploadable, UploadingEndpoint, WithUploadsOptions } from "../Blob.js"
import type { Service, UploadOptions } from "../contract.js"
import { BlobError, blobError } from "./error.js"
import { BlobRef, locationOf } from "./ref.js"
import { defaults } from "./service.js"
import { longestSignature } from "./store.js"

/**
 * Bytes that are to be uploaded, with what their upload says of them.
 *
 * @since 0.1.0
 * @category models
 */
export class Upload extends Data.TaggedClass("Upload")<{
  readonly bytes: Uint8Array
  /** The last part of the key that is made: workers look at its ending. Default: none. */
  readonly name?: string | undefined
  /** Default: `application/octet-stream`. */
  readonly contentType?: string | undefined
}> {}

/** What was uploaded for one job, and whether it may have been submitted. */
interface JobUploads {
  readonly uploaded: Array<BlobRef>
  isSubmitted: boolean
}

/** How long a URL must be valid for a job that is kept so long: its `ttl` counts from the submit, which comes after the uploads. */
const expiresFor = (ttl: Duration.DurationInput | undefined): Duration.Duration | undefined =>
  ttl === undefined
    ? undefined
    : Duration.min(Duration.sum(Duration.decode(ttl), Duration.minutes(10)), longestSignature)

const inline = (bytes: Uint8Array, contentType: string): BlobRef => {
  const url = `data:${contentType};base64,${Encoding.encodeBase64(bytes)}`
  return new BlobRef({ url: Redacted.make(url), location: locationOf(url), size: bytes.byteLength })
}

/** Whether nobody will read the inputs of a job any more: it has ended, or was not started. */
const isOver = (exit: Exit.Exit<unknown, RunPodError | JobError | BlobError>, { isSubmitted }: JobUploads): boolean => {
  if (!isSubmitted || Exit.isSuccess(exit)) return true
  const error = failureOf(exit.cause)
  if (error === undefined || error instanceof BlobError) return false
  switch (error._tag) {
    case "JobFailedError":
    case "JobCancelledError":
    case "JobTimedOutError":
    case "OutputMissingError":
    case "OutputDecodeError":
      return true
    case "WaitTimeoutError":
      return error.isUnsent === true
    default:
      return provesNoEffect(error)
  }
}

/** The credentials of a layer that a worker can be given. */
export const s3ConfigOf = ({ bucket, s3Config }: Service): Effect.Effect<S3Config, BlobError> => {
  const detail = "the layer was given a client or a session token, and has no lasting credentials to hand on"
  return s3Config === undefined
    ? Effect.fail(blobError("Unsupported", { operation: "layer", bucket }, detail))
    : Effect.succeed(s3Config)
}

export const make = <I, O, P, C>(
  blob: Service,
  endpoint: MadeEndpoint<I, O, P, C>,
  options: WithUploadsOptions
): UploadingEndpoint<I, O, P, C> => {
  const { concurrency = defaults.concurrency, inlineUpTo = 0, removeAfter = false, s3Config = false } = options

  const uploadOne = ({ bytes, contentType, name }: Upload, state: JobUploads, more: UploadOptions) => {
    if (bytes.byteLength <= inlineUpTo) return Effect.succeed(inline(bytes, contentType ?? "application/octet-stream"))
    return Effect.tap(blob.upload(bytes, { contentType, name, ...more }), (ref) => state.uploaded.push(ref))
  }

  const uploadAll = (input: unknown, state: JobUploads, more: UploadOptions): Effect.Effect<unknown, BlobError> => {
    const uploads: Array<Effect.Effect<void, BlobError>> = []
    /** A copy, in which what is uploaded takes its place when it is there. */
    const copyOf = (value: unknown): unknown => {
      if (Array.isArray(value)) return into(new Array<unknown>(value.length), value.entries())
      return isPlainObject(value) ? into({}, Object.entries(value)) : value
    }
    const into = (copy: object, entries: Iterable<readonly [string | number, unknown]>): object => {
      for (const [key, value] of entries) {
        const set = (value: unknown) =>
          // An assignment to the key `__proto__` would set the prototype.
          Object.defineProperty(copy, key, { value, enumerable: true, configurable: true, writable: true })
        const upload = value instanceof Uint8Array ? new Upload({ bytes: value }) : value
        if (upload instanceof Upload) uploads.push(Effect.map(uploadOne(upload, state, more), set))
        else set(copyOf(value))
      }
      return copy
    }
    return Effect.suspend(() => {
      const copy = copyOf(input)
      return Effect.as(Effect.all(uploads, { concurrency, discard: true }), copy)
    })
  }

  /** What is submitted: the options first, since nothing is uploaded for a submit that they refuse. */
  const submission = <Options extends RunOptions>(input: Uploadable<I>, state: JobUploads, given: Options) =>
    Effect.gen(function* () {
      const choices = yield* withS3(given)
      return { ready: yield* prepare(input, state, choices), choices }
    })

  const prepare = (input: Uploadable<I>, state: JobUploads, { policy }: RunOptions): Effect.Effect<I, BlobError> => {
    const expires = expiresFor(policy?.ttl)
    const prepared = uploadAll(input, state, expires === undefined ? {} : { expires })
    // `Uploadable<I>` is `I` with uploads where it has a `BlobRef`, and each of them is one now. The endpoint's schema checks the rest.
    return prepared as Effect.Effect<I, BlobError>
  }

  const withS3 = <Options extends RunOptions>(choices: Options): Effect.Effect<Options, BlobError> =>
    s3Config && choices.s3Config === undefined
      ? Effect.map(s3ConfigOf(blob), (s3Config) => ({ ...choices, s3Config }))
      : Effect.succeed(choices)

  const forget = ({ uploaded }: JobUploads) =>
    Effect.forEach(
      uploaded,
      (ref) =>
        blob.remove(ref).pipe(
          Effect.timeout("10 seconds"),
          Effect.catchAll(() => Effect.logWarning(`${ref.location} in bucket ${blob.bucket} could not be removed`))
        ),
      { concurrency, discard: true }
    )

  const callWith =
    (call: (input: I, options?: CallOptions<P>) => Effect.Effect<O, RunPodError | JobError>) =>
    (input: Uploadable<I>, given: CallOptions<P> = {}): Effect.Effect<O, RunPodError | JobError | BlobError> =>
      Effect.suspend(() => {
        const state: JobUploads = { uploaded: [], isSubmitted: false }
        const called = Effect.flatMap(submission(input, state, given), ({ choices, ready }) => {
          state.isSubmitted = true
          return call(ready, choices)
        })
        return removeAfter
          ? Effect.onExit(called, (exit) => (isOver(exit, state) ? forget(state) : Effect.void))
          : called
      })

  const nothing = (): JobUploads => ({ uploaded: [], isSubmitted: false })

  return {
    ...endpoint,
    prepare: (input) => Effect.suspend(() => prepare(input, nothing(), {})),
    run: (input, given = {}) =>
      Effect.suspend(() => submission(input, nothing(), given)).pipe(
        Effect.flatMap(({ choices, ready }) => endpoint.run(ready, choices))
      ),
    call: callWith(endpoint.call),
    runSync: callWith(endpoint.runSync),
    callStream: (input, given = {}) =>
      Stream.unwrap(
        Effect.suspend(() => submission(input, nothing(), given)).pipe(
          Effect.map(({ choices, ready }) => endpoint.callStream(ready, choices))
        )
      )
  }
}
