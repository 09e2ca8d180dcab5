/**
 * A recording of what went over the wire, to replay it: `Emulator.layerFlight` makes the same world of it, against which a program
 * can run again in virtual time.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { FlightError } from "../errors/FlightError.js"
import * as internal from "../internal/flight/file.js"
import * as Outcomes from "../internal/flight/outcomes.js"
import * as TestFile from "../internal/flight/testFile.js"
import { FlightRecorder } from "../layers/FlightRecorder.js"
import type { Attempt, Delivery } from "../schemas/FlightRecord.js"
import type { Sync } from "./BatchJournal.js"

/**
 * The options of a recorder.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * What stands in the recording of inputs, outputs, chunks and errors of jobs:
   *
   * - `shape`: types and lengths, without the names of fields. The default.
   * - `hash`: besides, the SHA-256 of their JSON. Replays find inputs by it. Who can guess a value can confirm it.
   * - `keep`: the values themselves, with the API key and what the request declares secret struck out.
   */
  readonly mode?: "shape" | "hash" | "keep" | undefined
  /** Names of fields that stand in shapes, as far as they occur, so that a replay's outputs have them. Default: none. */
  readonly keys?: ReadonlyArray<string> | undefined
  /** When records are forced to the disk; a crash of the process takes none that were written. Default: `never`. */
  readonly sync?: Sync | undefined
  /** As in `BatchJournal.FileOptions`. Default: false. */
  readonly force?: boolean | undefined
}

/**
 * One recording: from the opening of a recorder to the end of its scope, or of its process.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recording {
  readonly mode: "shape" | "hash" | "keep"
  /** In the order they were sent. */
  readonly attempts: ReadonlyArray<Attempt>
  readonly deliveries: ReadonlyArray<Delivery>
  /** How many records are missing, since they could not be written in time. */
  readonly lost: number
}

/**
 * What became of the submits with one input, in their order:
 *
 * - the last status of the job that was seen, or `Unknown` where none was;
 * - `Ambiguous`: no answer said whether a job was started;
 * - the tag of the error with which it was refused for good.
 *
 * Submits that were sent again since they had no effect (429, no connection) are one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  /** Renumbered: `e1`. */
  readonly endpoint: string
  /** Renumbered: `i1`. */
  readonly input: string
  readonly ends: ReadonlyArray<string>
}

/**
 * Records what the clients and `Webhooks` receivers above it send and get, into an append-only file: a crash leaves it readable.
 * A file that is there already is continued with one more recording.
 *
 * It holds no header, no URL, no text of an answer, and ids only renumbered. Records wait in memory (10,000 at most, then they are
 * counted as `lost`) and are written behind the requests, which neither wait for them nor fail with them: the first error of the file
 * system is logged, and the recording stops. The ids and digests of inputs behind the numbers stay in memory, about 150 bytes each.
 *
 * @example
 * ```ts
 * import { NodeFileSystem } from "@effect/platform-node"
 * import { Flight } from "effect-runpod"
 * import { NodeRunPod } from "effect-runpod/Node"
 * import { Layer } from "effect"
 *
 * export const recorded = NodeRunPod.layerConfig().pipe(
 *   Layer.provide(Flight.layer("flight.jsonl")),
 *   Layer.provide(NodeFileSystem.layer)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  file: string,
  options: Options = {}
): Layer.Layer<FlightRecorder, FlightError, FileSystem.FileSystem> =>
  Layer.scoped(FlightRecorder, internal.open(file, options))

/**
 * A recorder in memory, as a layer, and what it has recorded so far: to compare a replay with its recording.
 *
 * @since 0.1.0
 * @category constructors
 */
export const inMemory = (
  options: Pick<Options, "mode" | "keys"> = {}
): Effect.Effect<{ readonly layer: Layer.Layer<FlightRecorder>; readonly recording: Effect.Effect<Recording> }> =>
  Effect.map(internal.inMemory(options), ({ recorder, recording }) => ({
    layer: Layer.succeed(FlightRecorder, recorder),
    recording
  }))

/**
 * The last recording of a file, which may still be written. The torn last line of a crash is left out.
 *
 * @since 0.1.0
 * @category constructors
 */
export const read = (file: string): Effect.Effect<Recording, FlightError, FileSystem.FileSystem> => internal.read(file)

/**
 * All recordings of a file, the oldest first.
 *
 * @since 0.1.0
 * @category constructors
 */
export const readAll = (file: string): Effect.Effect<ReadonlyArray<Recording>, FlightError, FileSystem.FileSystem> =>
  internal.readAll(file)

/**
 * What became of the submits, in the order in which their inputs first appeared.
 *
 * @since 0.1.0
 * @category combinators
 */
export const outcomes: (recording: Recording) => ReadonlyArray<Outcome> = Outcomes.outcomesOf

/**
 * Options of `toTest`.
 *
 * @since 0.1.0
 * @category models
 */
export interface TestOptions {
  /** The test's name. Default: `the flight ends as it was recorded`. */
  readonly name?: string | undefined
  /** Where the test finds the recording, from the folder it runs in. Default: the file as it was given. */
  readonly recordedAt?: string | undefined
  /** The ids that the program asks for, as in `Emulator.FlightOptions`. Default: `e1`, `e2`, …. */
  readonly endpoints?: ReadonlyArray<string> | undefined
  /**
   * The effect that the test runs, which needs no more than `RunPod.RunPod` and what `RunPod.layer` provides beside it: the module it is
   * imported from, and its name there. Default: a batch of made-up inputs in the order of the recording.
   */
  readonly program?: { readonly module: string; readonly name: string } | undefined
}

/**
 * The text of a test for vitest and `@effect/vitest` that replays the last recording of a file under `TestClock`, and holds what
 * becomes of each submit against what became of it in the recording. It reads the recording when it runs, so keep the two together.
 *
 * @since 0.1.0
 * @category combinators
 */
export const toTest = (
  file: string,
  options: TestOptions = {}
): Effect.Effect<string, FlightError, FileSystem.FileSystem> =>
  Effect.map(internal.read(file), (recording) => TestFile.write(recording, file, options))
