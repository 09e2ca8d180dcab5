/** The files of one command, compared with each other before any of them is opened. */
import type { FileSystem } from "@effect/platform/FileSystem"
import type { FileError } from "effect-runpod/FileError"
import * as Files from "effect-runpod/Files"
import * as Effect from "effect/Effect"
import { recipeOf } from "../batch/recipePath.js"

type Uses = ReadonlyArray<Files.Use>

/** A file that is read, where it was given. What a shell has led stdin to is one, too. */
export const read = (name: string, path: string | undefined): Uses =>
  path === undefined ? [] : [{ name, path: path === "-" ? "/dev/fd/0" : path, access: "read" }]

/** An argument that may be `@file`. */
export const readIn = (name: string, argument: string | undefined): Uses =>
  argument === "-" ? read(name, argument) : argument?.startsWith("@") === true ? read(name, argument.slice(1)) : []

/** A file that is written, where it was given and is not stdout. */
export const written = (name: string, path: string | undefined): Uses =>
  path === undefined || isStdout(path) ? [] : [{ name, path, access: "write" }]

/** An append-only file, and what lies beside it while it is written. */
export const log = (name: string, path: string | undefined): Uses =>
  path === undefined
    ? []
    : [
        ...written(name, path),
        ...written(`the lock of ${name}`, `${path}.lock`),
        ...written(`the copy of ${name}`, `${path}.compact`)
      ]

/** A journal, and how its batch is run. */
export const journal = (name: string, path: string | undefined): Uses =>
  path === undefined ? [] : [...log(name, path), ...written(`the settings of ${name}`, recipeOf(path))]

/** Whether a path is stdout, by whatever name. */
export const isStdout = (path: string): boolean =>
  path === "-" || /^(?:\/dev\/(?:stdout|fd\/1)|\/proc\/(?:self|thread-self)\/fd\/1)$/.test(path)

/** Where a shell has led stdout and stderr. Both may be one file. */
const streams: ReadonlyArray<Files.Use> = [
  { name: "stdout", path: "/dev/fd/1", access: "write" },
  { name: "stderr", path: "/dev/fd/2", access: "write" }
]

/** Fails where one file would be written and used for something else. */
export const check = (...uses: ReadonlyArray<Uses>): Effect.Effect<void, FileError, FileSystem> => {
  const all = uses.flat()
  return streams.reduce<Effect.Effect<void, FileError, FileSystem>>(
    (checked, stream) => Effect.zipRight(checked, Files.checkDistinct([stream, ...all])),
    Files.checkDistinct(all)
  )
}
