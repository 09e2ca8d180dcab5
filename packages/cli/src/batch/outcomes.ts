import type { FileSystem } from "@effect/platform/FileSystem"
import type { FileError } from "effect-runpod/FileError"
import * as Files from "effect-runpod/Files"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { isStdout } from "../shell/files.js"
import * as Output from "../shell/output.js"
import * as Progress from "../shell/progress.js"
import type { Row } from "./tally.js"

/** Where the outcomes go: a file of JSON lines, or stdout. */
export interface Rows {
  readonly output: Output.Service<FileError>
  /** What the file held before is given up. */
  readonly accept: Effect.Effect<void, FileError>
  /** Where the outcomes are when that was not so. */
  readonly beside: Effect.Effect<string | undefined>
}

export const rowsTo = (out: string | undefined) =>
  Effect.gen(function* (): Effect.fn.Return<Rows, FileError, Output.Output | FileSystem | Scope.Scope> {
    const onStdout = { accept: Effect.void, beside: Effect.succeed(undefined) }
    if (out === undefined || out === "-") return { output: yield* Output.Output, ...onStdout }
    if (isStdout(out)) return { output: Output.make("jsonl", Output.toStdout), ...onStdout }
    const { accept, beside, write } = yield* Files.writer(out)
    return { output: Output.make("jsonl", write), accept, beside }
  })

export const rowText = ({ key, kind, message = "", output }: Row): string =>
  Output.toRow(key, kind, kind === "Completed" ? Output.toJson(output) : message)

/** Says where outcomes are that do not stand in the file that was named, since that has those of an earlier run. */
export const tellBeside = ({ beside }: Rows, out: string | undefined) =>
  Effect.map(beside, (file) => {
    if (file === undefined) return
    Progress.say(
      `The outcomes of this run are in ${file}. ${out} is as it was: the run ended before all inputs were read and RunPod had answered.`
    )
  })
