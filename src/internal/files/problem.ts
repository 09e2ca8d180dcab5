/** What an error of the file system means to a person: one sentence and what to do, without the names of functions. */
import type { PlatformError } from "@effect/platform/Error"
import { hasProperty } from "effect/Predicate"
import { FileError } from "../../errors/FileError.js"
import { defined } from "../text/json.js"

type Meaning = readonly [reason: FileError["reason"], detail: string]

const tooLarge = "it is larger than the file system allows. Write to another place."
const denied = "this user may not read or write it. Change its permissions, or give another path."
const full = "the disk is full. Make room on it, or give a path on another one."
const unfit = "no file can have this path. Give another one."

/** By the system's code. */
const meanings: Readonly<Record<string, Meaning>> = {
  ENOENT: ["Missing", "there is no such file or folder. Check the path."],
  EISDIR: ["Folder", "it is a folder. Give the path of a file."],
  ENOTDIR: ["Unfit", "a part of this path is a file, not a folder. Check the path."],
  ELOOP: ["Unfit", "its links lead in a circle. Give another path."],
  ENAMETOOLONG: ["Unfit", "the path is too long. Give a shorter one."],
  EINVAL: ["Unfit", unfit],
  ENXIO: ["Unfit", "nothing reads this pipe, or it is a device that is not there. Give the path of a file."],
  EACCES: ["Denied", denied],
  EPERM: ["Denied", denied],
  EROFS: ["ReadOnly", "its file system is read-only. Give a path on another one."],
  ENOSPC: ["Full", full],
  EDQUOT: ["Full", "this user's share of the disk is full. Make room, or give a path on another disk."],
  EFBIG: ["Full", tooLarge],
  EMFILE: ["Io", "this process has too many open files. Raise the limit (ulimit -n)."],
  ENFILE: ["Io", "the system has too many open files. Close some programs."],
  EBUSY: ["Io", "the system is using it. Try again, or give another path."],
  ETXTBSY: ["Io", "it is a program that runs. Give another path."],
  EXDEV: ["Io", "it lies on another file system than its folder. Give another path."],
  EIO: ["Io", "the disk failed. Check it before you go on."],
  ESTALE: ["Io", "the network file system has lost it. Mount it again."],
  EPIPE: ["Io", "nobody reads it any more."]
}

/** Where a file system of another platform tells no code. */
const byReason: Readonly<Record<string, Meaning | undefined>> = {
  NotFound: meanings["ENOENT"],
  PermissionDenied: meanings["EACCES"],
  Busy: meanings["EBUSY"]
}

const codeOf = (error: PlatformError): string | undefined => {
  if (error._tag !== "SystemError") return undefined
  const code = hasProperty(error.cause, "code") ? error.cause.code : undefined
  return typeof code === "string" ? code : /^E[A-Z0-9]+(?=:)/.exec(error.description ?? "")?.[0]
}

const meaningOf = (error: PlatformError, code: string | undefined): Meaning => {
  if (error._tag === "BadArgument") return ["Unfit", unfit]
  const known = code === undefined ? undefined : meanings[code]
  const why = code === undefined ? (error.description ?? error.message) : `the system says ${code}`
  return known ?? byReason[error.reason] ?? ["Io", `${why}. Check the file and its disk.`]
}

/** An error of the file system, as one of the file that was named. */
export const problemOf =
  (file: string) =>
  (error: PlatformError): FileError => {
    const code = codeOf(error)
    const [reason, detail] = meaningOf(error, code)
    return new FileError({ reason, file, detail, ...defined({ code }) })
  }
