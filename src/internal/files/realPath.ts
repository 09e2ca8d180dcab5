import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { AppendLogError, ioError, isMissing, splitPath, unfit } from "./logFile.js"

/** The path without `..`, each of which leads to the real parent of what stands before it: Node takes a link's own. */
export const withoutParents = (fs: FileSystem, path: string): Effect.Effect<string, PlatformError> => {
  const found = /(?<=[^/\\])[/\\]+\.\.(?=[/\\]|$)/.exec(path)
  if (found === null) return Effect.succeed(path)
  return Effect.flatMap(fs.realPath(path.slice(0, found.index)), (real) =>
    withoutParents(fs, splitPath(real).folder + path.slice(found.index + found[0].length))
  )
}

/** The real path of a file that is not there yet: that of its folder, and its name. */
const pathOfNew = Effect.fnUntraced(function* (fs: FileSystem, path: string) {
  const target = yield* Effect.option(fs.readLink(path))
  if (Option.isSome(target)) {
    return yield* unfit(
      path,
      `it is a link to ${target.value}, and nothing is there. Mount or create that file, or remove the link.`
    )
  }
  const { folder, name } = splitPath(path)
  if (name === "") return yield* unfit(path, "it names a folder. Give the path of a file.")
  const real = yield* Effect.mapError(fs.realPath(folder), ioError(path))
  return /[/\\]$/.test(real) ? `${real}${name}` : `${real}/${name}`
})

/**
 * The one path by which a file is locked and replaced, whatever links lead to it. A file that is known by hard links, too, is
 * refused without `force`: they have no such path, and whoever opens it by another name sees no lock.
 */
export const realPath = Effect.fnUntraced(function* (
  fs: FileSystem,
  given: string,
  force = false
): Effect.fn.Return<string, AppendLogError> {
  const path = yield* Effect.mapError(withoutParents(fs, given), ioError(given))
  const toIo = Effect.mapError(ioError(path))
  const real = yield* Effect.catchIf(fs.realPath(path), isMissing, () => Effect.succeed(undefined)).pipe(toIo)
  if (real === undefined) return yield* pathOfNew(fs, path)
  const { nlink, type } = yield* toIo(fs.stat(real))
  if (type !== "File") return yield* unfit(real, "it is no regular file. Give the path of a file.")
  const names = Option.getOrElse(nlink, () => 1)
  if (names > 1 && !force) {
    const detail = `the file has ${names} names (hard links), and a lock is seen by one of them only. Give this name a copy of its own, remove the others, or pass \`force: true\`.`
    return yield* new AppendLogError({ reason: "Locked", file: real, detail })
  }
  return real
})
