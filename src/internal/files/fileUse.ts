/** Checks of the files of one program against each other, before any is opened. */
import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import { FileError } from "../../errors/FileError.js"
import { identityOf } from "./identity.js"
import { problemOf } from "./problem.js"
import * as UserFile from "./userFile.js"

interface Use {
  readonly name: string
  readonly path: string
  readonly access: "read" | "write"
}

const same = (written: Use, other: Use): FileError => {
  const wrong = other.access === "write" ? "would overwrite each other" : "would overwrite what is read"
  const detail = `${written.name} and ${other.name} are the same file, and ${wrong}. Give ${written.name} another path.`
  return new FileError({ reason: "Same", file: written.path, detail })
}

export const checkDistinct = Effect.fnUntraced(function* (
  uses: ReadonlyArray<Use>
): Effect.fn.Return<void, FileError, FileSystem> {
  const fs = yield* FileSystem
  const seen = new Map<string, Use>()
  // Written ones first: two that are read may be one file.
  const sorted = [...uses.filter(({ access }) => access === "write"), ...uses.filter(({ access }) => access === "read")]
  for (const use of sorted) {
    const identity = yield* Effect.mapError(identityOf(fs, use.path), problemOf(use.path))
    if (identity === undefined) continue
    const other = seen.get(identity)
    if (other !== undefined) return yield* same(other, use)
    if (use.access === "write") seen.set(identity, use)
  }
})

export const checkReadable = Effect.fnUntraced(function* (path: string): Effect.fn.Return<void, FileError, FileSystem> {
  const fs = yield* FileSystem
  const check = Effect.zipLeft(fs.stat(path), fs.access(path, { readable: true }))
  const { type } = yield* Effect.mapError(check, problemOf(path))
  if (type !== "Directory") return
  return yield* new FileError({ reason: "Folder", file: path, detail: "it is a folder. Give the path of a file." })
})

export const isRegular = (path: string): Effect.Effect<boolean, never, FileSystem> =>
  FileSystem.pipe(
    Effect.flatMap((fs) => fs.stat(path)),
    Effect.match({ onFailure: () => false, onSuccess: ({ type }) => type === "File" })
  )

export const makeFolder = (path: string): Effect.Effect<void, FileError, FileSystem> =>
  Effect.mapError(
    Effect.flatMap(FileSystem, (fs) => UserFile.makeFolder(fs, path)),
    problemOf(path)
  )
