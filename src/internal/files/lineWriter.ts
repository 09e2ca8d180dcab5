/** A file that grows while a program works, beside or in the place of one that was there before. */
import type { PlatformError } from "@effect/platform/Error"
import { type File, FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { FileError } from "../../errors/FileError.js"
import { utf8 } from "../text/bytes.js"
import { type Target, targetOf } from "./identity.js"
import { splitPath } from "./logFile.js"
import { problemOf } from "./problem.js"
import * as UserFile from "./userFile.js"

/** Where lines go. `Beside`: the old file is as it was. */
type State =
  | { readonly _tag: "Unopened"; readonly isAccepted: boolean }
  | { readonly _tag: "Beside"; readonly file: File; readonly draft: string }
  | { readonly _tag: "InPlace"; readonly file: File }

const draftOf = (path: string): Effect.Effect<string> =>
  Effect.map(Random.nextIntBetween(0, 2 ** 40), (number) => `${path}.${number.toString(36)}.part`)

/** Whether a file would lose something. */
const isWorthKeeping = (target: Target): boolean =>
  target._tag === "Found" && target.info.type === "File" && target.info.size > 0n

/** Fails where a path could not be written, before any work is done for it. Nothing is changed. */
export const check = (fs: FileSystem, path: string): Effect.Effect<Target, FileError> =>
  Effect.gen(function* () {
    const { folder, name } = splitPath(path)
    if (name === "")
      return yield* new FileError({
        reason: "Folder",
        file: path,
        detail: "it names a folder. Give the path of a file."
      })
    const target = yield* targetOf(fs, path)
    if (target._tag === "Found") {
      if (target.info.type === "Directory") {
        return yield* new FileError({
          reason: "Folder",
          file: path,
          detail: "it is a folder. Give the path of a file."
        })
      }
      yield* fs.access(target.path, { writable: true })
      return target
    }
    const { folder: real } = splitPath(target.path)
    const exists = yield* fs.exists(real)
    // A folder that is missing is made where its own one is there.
    yield* fs.access(exists ? real : splitPath(real).folder, { writable: true }).pipe(
      Effect.mapError((error) => {
        const problem = problemOf(path)(error)
        if (problem.reason !== "Missing") return problem
        const detail = `the folder ${folder} is not there, nor is the one it would be in. Make it, or check the path.`
        return new FileError({ reason: "Missing", file: path, detail, code: "ENOENT" })
      })
    )
    return target
  }).pipe(Effect.mapError((error) => (error._tag === "FileError" ? error : problemOf(path)(error))))

export const checkWritable = (path: string): Effect.Effect<void, FileError, FileSystem> =>
  Effect.asVoid(Effect.flatMap(FileSystem, (fs) => check(fs, path)))

/** Plain state of one file, touched by one fiber at a time. */
export class LineWriter {
  private state: State = { _tag: "Unopened", isAccepted: false }
  /** Of whole lines, in bytes. */
  private size = 0

  constructor(
    private readonly fs: FileSystem,
    private readonly scope: Scope.Scope,
    private readonly given: string,
    private readonly target: Target
  ) {}

  /** Where the lines are while they are not accepted. */
  get beside(): string | undefined {
    return this.state._tag === "Beside" ? this.state.draft : undefined
  }

  write(text: string): Effect.Effect<void, FileError> {
    const bytes = utf8(text)
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(this, function* () {
        // The opening of a pipe takes until somebody reads it: an interruption does not wait for that.
        const file = yield* this.isSpecial ? restore(Effect.disconnect(this.open)) : this.open
        yield* Effect.onError(file.writeAll(bytes), () => this.cutOff(file))
        this.size += bytes.length
      })
    ).pipe(this.toFileError)
  }

  /** A pipe or a device. */
  private get isSpecial(): boolean {
    return this.target._tag === "Found" && this.target.info.type !== "File"
  }

  /** From here on the lines may stand in the place of what the file held before. */
  readonly accept: Effect.Effect<void, FileError> = Effect.suspend(() => {
    const { fs, state, target } = this
    if (state._tag === "Unopened") this.state = { _tag: "Unopened", isAccepted: true }
    if (state._tag !== "Beside") return Effect.void
    return Effect.map(UserFile.promote(fs, state.draft, target.path), () => {
      this.state = { _tag: "InPlace", file: state.file }
    }).pipe(this.toFileError, Effect.uninterruptible)
  })

  private readonly toFileError = <A>(effect: Effect.Effect<A, PlatformError>): Effect.Effect<A, FileError> =>
    Effect.mapError(effect, problemOf(this.given))

  private get open(): Effect.Effect<File, PlatformError> {
    const { fs, scope, state, target } = this
    if (state._tag !== "Unopened") return Effect.succeed(state.file)
    return Effect.gen(this, function* () {
      if (!state.isAccepted && target._tag === "Found" && isWorthKeeping(target)) {
        const draft = yield* draftOf(target.path)
        const file = yield* UserFile.openDraft(fs, draft, target.info)
        this.state = { _tag: "Beside", file, draft }
        return file
      }
      yield* UserFile.makeFolder(fs, target.path)
      const file = yield* UserFile.open(fs, target.path, this.isSpecial ? "a" : "w")
      this.state = { _tag: "InPlace", file }
      return file
    }).pipe(Scope.extend(scope))
  }

  /** Takes away the part of a line that was written before the disk was full. */
  private cutOff(file: File): Effect.Effect<void> {
    return this.isSpecial ? Effect.void : Effect.ignore(file.truncate(this.size))
  }
}

export const make = (path: string): Effect.Effect<LineWriter, FileError, FileSystem | Scope.Scope> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem
    const target = yield* check(fs, path)
    return new LineWriter(fs, yield* Effect.scope, path, target)
  })

/** Writes a whole file. A crash leaves the old one or the new one; a pipe or a device is written to as it is. */
export const replace = (path: string, content: Uint8Array): Effect.Effect<void, FileError, FileSystem> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem
    const target = yield* check(fs, path)
    const write = Effect.gen(function* () {
      if (target._tag === "Found" && target.info.type !== "File") {
        // Behind what was written to it: a pipe has no other place.
        return yield* (yield* UserFile.open(fs, target.path, "a")).writeAll(content)
      }
      yield* UserFile.makeFolder(fs, target.path)
      const draft = yield* draftOf(target.path)
      const replaced = target._tag === "Found" ? target.info : undefined
      yield* Effect.gen(function* () {
        const file = yield* UserFile.openDraft(fs, draft, replaced)
        yield* file.writeAll(content)
        yield* file.sync
        yield* UserFile.promote(fs, draft, target.path)
      }).pipe(Effect.onError(() => UserFile.discard(fs, draft)))
    })
    yield* Effect.mapError(Effect.scoped(write), problemOf(path))
  }).pipe(Effect.uninterruptible)
