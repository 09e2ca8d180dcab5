/**
 * How every file is made and replaced that holds what belongs to a user: journals, recordings, outcomes, reports. Inputs and outputs are in them,
 * so nobody else may read a new one; one that is there already keeps its mode.
 */
import type { PlatformError } from "@effect/platform/Error"
import type { File, FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { isMissing, splitPath, syncFolder } from "./logFile.js"

/** Of new files; what the umask takes away is missing, too. */
const fileMode = 0o600
const folderMode = 0o700
const permissions = 0o7777

/** Makes the folder of a file where only that is missing. More missing folders are more likely a mistyped path. */
export const makeFolder = (fs: FileSystem, path: string): Effect.Effect<void, PlatformError> => {
  const { folder } = splitPath(path)
  return Effect.catchIf(Effect.asVoid(fs.stat(folder)), isMissing, () =>
    fs.makeDirectory(folder, { mode: folderMode }).pipe(
      // Another process has made it meanwhile.
      Effect.catchIf(
        (error) => error._tag === "SystemError" && error.reason === "AlreadyExists",
        () => Effect.void
      )
    )
  )
}

/** Opens a file for writing; with `a` behind what it holds. */
export const open = (fs: FileSystem, path: string, flag: "a" | "w"): Effect.Effect<File, PlatformError, Scope.Scope> =>
  fs.open(path, { flag, mode: fileMode })

/** Opens a new file that is to take the place of another one, whose mode and owner it gets. */
export const openDraft = (
  fs: FileSystem,
  draft: string,
  replaced: File.Info | undefined
): Effect.Effect<File, PlatformError, Scope.Scope> =>
  Effect.gen(function* () {
    const file = yield* fs.open(draft, { flag: "wx", mode: fileMode })
    if (replaced === undefined) return file
    const { gid, mode, uid } = replaced
    // Only root may give a file away, and a file system may have neither owners nor modes.
    if (Option.isSome(uid) && Option.isSome(gid)) yield* Effect.ignore(fs.chown(draft, uid.value, gid.value))
    yield* Effect.ignore(fs.chmod(draft, mode & permissions))
    return file
  })

/** Puts a draft in the place of a file: a crash leaves the one or the other. */
export const promote = (fs: FileSystem, draft: string, path: string): Effect.Effect<void, PlatformError> =>
  Effect.zipRight(fs.rename(draft, path), syncFolder({ fs, path }))

export const discard = (fs: FileSystem, draft: string): Effect.Effect<void> =>
  Effect.ignore(fs.remove(draft, { force: true }))
