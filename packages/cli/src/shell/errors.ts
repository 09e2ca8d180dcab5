import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"

/** What was asked for makes no sense. */
export class UsageError extends Data.TaggedError("UsageError")<{ readonly message: string }> {}

/** There is no API key that can be used. */
export class KeyError extends Data.TaggedError("KeyError")<{ readonly message: string }> {}

/** A file that was named cannot be used. */
export class LocalError extends Data.TaggedError("LocalError")<{ readonly message: string }> {}

/** The command has said all that it had to say, and what came of it is no success. */
export class Unsuccessful extends Data.TaggedError("Unsuccessful")<{
  readonly code: number
  readonly message?: string
}> {}

/** The statuses a command ends with. */
export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  key: 3,
  notFound: 4,
  jobFailed: 5,
  ambiguous: 6,
  stopped: 7,
  SIGINT: 130,
  SIGPIPE: 141,
  SIGTERM: 143
} as const

const byTag: Readonly<Record<string, number>> = {
  UsageError: exitCodes.usage,
  LocalError: exitCodes.usage,
  KeyError: exitCodes.key,
  AuthenticationError: exitCodes.key,
  PermissionDeniedError: exitCodes.key,
  EndpointNotFoundError: exitCodes.notFound,
  JobNotFoundError: exitCodes.notFound,
  JobFailedError: exitCodes.jobFailed,
  JobCancelledError: exitCodes.jobFailed,
  JobTimedOutError: exitCodes.jobFailed,
  OutputMissingError: exitCodes.jobFailed,
  OutputDecodeError: exitCodes.jobFailed,
  SubmitAmbiguousError: exitCodes.ambiguous,
  WaitTimeoutError: exitCodes.stopped,
  BatchStoppedError: exitCodes.stopped,
  BudgetExceededError: exitCodes.stopped
}

/** The status for an error. */
export const codeOf = (error: unknown): number => {
  if (error instanceof Unsuccessful) return error.code
  if (!Predicate.hasProperty(error, "_tag") || typeof error._tag !== "string") return exitCodes.failure
  // Without a status it was refused here: what was asked for cannot be sent.
  if (["BadRequestError", "PayloadTooLargeError"].includes(error._tag)) {
    return Predicate.hasProperty(error, "status") && error.status !== undefined ? exitCodes.failure : exitCodes.usage
  }
  return byTag[error._tag] ?? exitCodes.failure
}

/** What is said of an error; nothing where all was said. */
export const messageOf = (error: unknown): string | undefined => {
  if (error instanceof Unsuccessful) return error.message === "" ? undefined : error.message
  return error instanceof Error ? error.message : String(error)
}
