/**
 * What can go wrong with the file of a flight. It never goes wrong for a request: see `Flight.layer`.
 *
 * @since 0.1.0
 */
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import { FileProblem } from "./FileError.js"
import { taggedError } from "./taggedError.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-runpod/FlightError")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * The file of a flight cannot be opened or read.
 *
 * @since 0.1.0
 * @category errors
 */
export class FlightError extends taggedError<FlightError>()(
  "FlightError",
  {
    /**
     * - `Empty`: there is no recording in the file, or no file
     * - `Locked`: another process records into it, or nobody can tell
     * - `Corrupt`: a line cannot be read or has a wrong checksum, and is not the torn end of a write
     * - `Format`, `Version`: the file is something else, or was written by a version that this one does not know
     * - `Io`: the file system failed
     */
    reason: Schema.Literal("Empty", "Locked", "Corrupt", "Format", "Version", "Io"),
    /** What happened, and what to do. */
    detail: Schema.String,
    file: Schema.String,
    /** Counting from 1. */
    line: Schema.optional(Schema.Number),
    /** With `Io`: what the file system says. */
    problem: Schema.optional(FileProblem)
  },
  {
    typeId: TypeId,
    mark: (): TypeId => TypeId,
    message: ({ detail, file, line }) => `The flight ${file}${line === undefined ? "" : `, line ${line}`}: ${detail}`
  }
) {}

/**
 * Whether a value is an error of a flight's file.
 *
 * @since 0.1.0
 * @category guards
 */
export const isFlightError = (value: unknown): value is FlightError => hasProperty(value, TypeId)
