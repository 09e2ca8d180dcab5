/** What the errors of a database mean, and how they are told: never with their message, which may quote what was sent. */
import type { SqlError } from "@effect/sql/SqlError"
import { hasProperty } from "effect/Predicate"
import { BatchJournalError } from "effect-runpod/BatchError"

/** The database's own code of an error: an SQLSTATE, one of SQLite, or one of the system. */
export const codeOf = ({ cause }: Pick<SqlError, "cause">): string | undefined => {
  for (let error: unknown = cause, depth = 0; error !== undefined && depth < 5; depth++) {
    if (hasProperty(error, "code") && typeof error.code === "string") return error.code
    error = hasProperty(error, "cause") ? error.cause : undefined
  }
  return undefined
}

/** Whether another process, or another connection of this one, has the file of SQLite. */
export const isBusy = (error: Pick<SqlError, "cause">): boolean => /^SQLITE_(?:BUSY|LOCKED)/.test(codeOf(error) ?? "")

/** SQLSTATE classes of what a statement itself is to blame for; any other error may pass. */
const lasting = /^(?:0A|21|22|23|26|28|34|3D|3F|42|44|54)[0-9A-Z]{3}$/

/** Whether what SQLite could not do may succeed later. */
export const mayPassInSqlite = (error: Pick<SqlError, "cause">): boolean =>
  /^SQLITE_(?:BUSY|LOCKED|IOERR|CANTOPEN|FULL|PROTOCOL)/.test(codeOf(error) ?? "")

/** Whether the same statement may succeed later: the database is down, restarts, or is busy. */
export const mayPass = (error: SqlError): boolean => {
  const code = codeOf(error)
  // A client refuses a value so.
  if (error.cause instanceof TypeError || error.cause instanceof RangeError) return false
  if (code === undefined) return true
  return code.startsWith("SQLITE_") ? mayPassInSqlite(error) : !lasting.test(code)
}

/** Whether the database refuses what stands in the values. */
export const isDataProblem = (error: SqlError): boolean =>
  /^(?:22|54)[0-9A-Z]{3}$|^SQLITE_TOOBIG/.test(codeOf(error) ?? "")

/** The database is not reached, or has not done what it was asked for. Its message is left out: it may quote what was sent. */
export const problemOf = (error: SqlError): string => {
  const code = codeOf(error)
  return code === undefined ? "the database cannot be reached" : `the database says ${code}`
}

export const ioError = (error: SqlError): BatchJournalError => {
  const detail = `${problemOf(error)}. Once it works, run the batch again with the same journal.`
  return new BatchJournalError({ reason: "Io", detail })
}
