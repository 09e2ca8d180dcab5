import type { FileProblem } from "effect-runpod/FileError"
import * as TerminalText from "effect-runpod/TerminalText"
import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"
import { exitCodes } from "../spec/statuses.js"

/** What was asked for makes no sense, or a file or a port that was named cannot be used. */
export class UsageError extends Data.TaggedError("UsageError")<{ readonly message: string }> {}

/** There is no API key that can be used. */
export class KeyError extends Data.TaggedError("KeyError")<{ readonly message: string }> {}

/** The command has said all that it had to say, and what came of it is no success. */
export class Unsuccessful extends Data.TaggedError("Unsuccessful")<{
  readonly code: number
  readonly message?: string
}> {}

const { ambiguous, failure, jobFailed, key, notFound, stopped, usage } = exitCodes

const byTag: Readonly<Record<string, number>> = {
  UsageError: usage,
  ServeError: usage,
  WebhookSetupError: usage,
  KeyError: key,
  AuthenticationError: key,
  PermissionDeniedError: key,
  EndpointNotFoundError: notFound,
  JobNotFoundError: notFound,
  JobFailedError: jobFailed,
  JobCancelledError: jobFailed,
  JobTimedOutError: jobFailed,
  OutputMissingError: jobFailed,
  OutputDecodeError: jobFailed,
  SubmitAmbiguousError: ambiguous,
  WaitTimeoutError: stopped,
  BatchStoppedError: stopped,
  BudgetExceededError: stopped
}

/** Whether somebody else than the user has to mend it: the disk is full, or broken. */
const isOfDisk = (problem: FileProblem): boolean => problem === "Full" || problem === "Io"

const field = (error: object, name: string): unknown => (Predicate.hasProperty(error, name) ? error[name] : undefined)

/** The status for an error of a file: of one, a journal or a recording. */
const ofFile = (error: object): number => {
  const reason = field(error, "reason")
  const problem = reason === "Io" && field(error, "_tag") !== "FileError" ? field(error, "problem") : reason
  // A store that has no files fails as RunPod does.
  if (reason === "Io" && problem === undefined) return failure
  return isOfDisk(problem as FileProblem) ? failure : usage
}

/** The status for an error. */
export const codeOf = (error: unknown): number => {
  if (error instanceof Unsuccessful) return error.code
  if (!Predicate.hasProperty(error, "_tag") || typeof error._tag !== "string") return failure
  if (["FileError", "BatchJournalError", "FlightError"].includes(error._tag)) return ofFile(error)
  // Without a status it was refused here: what was asked for cannot be sent.
  if (["BadRequestError", "PayloadTooLargeError"].includes(error._tag)) {
    return field(error, "status") === undefined ? usage : failure
  }
  return byTag[error._tag] ?? failure
}

const mostLines = 3
const mostCharacters = 600

/** A message that a person reads at one look. */
export const brief = (message: string): string => {
  const lines = message.trim().split("\n")
  const text = lines.slice(0, mostLines).join("\n")
  if (lines.length <= mostLines && text.length <= mostCharacters) return text
  return `${text.slice(0, mostCharacters - 1)}…`
}

/** What is said of an error; nothing where all was said. */
export const messageOf = (error: unknown): string | undefined => {
  if (error instanceof Unsuccessful && (error.message ?? "") === "") return undefined
  const message = error instanceof Error ? error.message : String(error)
  return codeOf(error) === usage ? brief(message) : message
}

/** The words of others in a sentence of ours. */
export const excerptOf = (text: string, most = 120): string => {
  const line = TerminalText.oneLine(text)
  return line.length > most ? `${line.slice(0, most)}…` : line
}
