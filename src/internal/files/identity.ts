/** Which file a path leads to, also where there is none yet: two paths of one file have one identity. */
import type { PlatformError } from "@effect/platform/Error"
import type { File, FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { isMissing, splitPath } from "./logFile.js"
import { withoutParents } from "./realPath.js"

/** A file that is there, or the path it would be made at, behind all links. */
export type Target =
  | { readonly _tag: "Found"; readonly path: string; readonly info: File.Info }
  | { readonly _tag: "New"; readonly path: string }

/** As many as Linux follows. */
const mostLinks = 40

const orUndefined = <A>(effect: Effect.Effect<A, PlatformError>): Effect.Effect<A | undefined, PlatformError> =>
  Effect.catchIf(effect, isMissing, () => Effect.succeed(undefined))

const isAbsolute = (path: string): boolean => /^(?:[/\\]|[A-Za-z]:)/.test(path)

const join = (folder: string, name: string): string => (/[/\\]$/.test(folder) ? folder + name : `${folder}/${name}`)

/** Follows links, those to nowhere, too: whoever writes through one makes the file it names. */
export const targetOf = (fs: FileSystem, given: string, links = 0): Effect.Effect<Target, PlatformError> =>
  Effect.gen(function* () {
    const path = yield* withoutParents(fs, given)
    const info = yield* orUndefined(fs.stat(path))
    if (info !== undefined) return { _tag: "Found", path: (yield* orUndefined(fs.realPath(path))) ?? path, info }
    const { folder, name } = splitPath(path)
    const link = yield* Effect.option(fs.readLink(path))
    if (Option.isNone(link) || links >= mostLinks) {
      const real = yield* orUndefined(fs.realPath(folder))
      return { _tag: "New", path: join(real ?? folder, name) }
    }
    return yield* targetOf(fs, isAbsolute(link.value) ? link.value : join(folder, link.value), links + 1)
  })

const idOf = ({ dev, ino }: File.Info): string | undefined =>
  Option.match(ino, { onNone: () => undefined, onSome: (ino) => `${dev}:${ino}` })

const otherCase = (name: string): string => (name === name.toUpperCase() ? name.toLowerCase() : name.toUpperCase())

/** Whether names in a folder differ by more than their case, as far as the folder's own name tells. */
const hasCase = (fs: FileSystem, folder: string, info: File.Info): Effect.Effect<boolean> => {
  const { folder: parent, name } = splitPath(folder)
  return Effect.match(fs.stat(join(parent, otherCase(name))), {
    onFailure: () => true,
    onSuccess: (other) => otherCase(name) === name || idOf(other) !== idOf(info)
  })
}

/** The identity of a file that is not there: that of its folder, and its name. */
const identityOfNew = (fs: FileSystem, path: string): Effect.Effect<string, PlatformError> =>
  Effect.gen(function* () {
    const { folder, name } = splitPath(path)
    const info = yield* orUndefined(fs.stat(folder))
    if (info === undefined) return folder === path ? path : `${yield* identityOfNew(fs, folder)}/${name}`
    const plain = (yield* hasCase(fs, folder, info)) ? name : name.normalize("NFC").toLowerCase()
    return `${idOf(info) ?? folder}/${plain}`
  })

/** Missing for what is no regular file: writing to a pipe or a device destroys nothing. */
export const identityOf = (fs: FileSystem, path: string): Effect.Effect<string | undefined, PlatformError> =>
  Effect.flatMap(targetOf(fs, path), (target) => {
    if (target._tag === "New") return identityOfNew(fs, target.path)
    return Effect.succeed(target.info.type === "File" ? (idOf(target.info) ?? target.path) : undefined)
  })
