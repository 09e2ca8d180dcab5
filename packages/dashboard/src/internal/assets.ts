import * as FileSystem from "@effect/platform/FileSystem"
import type { PlatformError } from "@effect/platform/Error"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"

/** A file of the page. */
export interface Asset {
  readonly type: string
  readonly body: Uint8Array
}

/** The files there are. Nothing else can be asked for: no path of a request becomes a path of the disk. */
const types = {
  "index.html": "text/html; charset=utf-8",
  "page.js": "text/javascript; charset=utf-8",
  "page.css": "text/css; charset=utf-8",
  "icon.svg": "image/svg+xml"
}

/** Reads the page: unless it is said where, from the place of the package that is the same from its sources and when it is built. */
export const load = (
  page: string | undefined
): Effect.Effect<ReadonlyMap<string, Asset>, PlatformError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const folder = page ?? (yield* Effect.orDie(path.fromFileUrl(new URL("../../dist/page/", import.meta.url))))
    const files = yield* Effect.forEach(Object.entries(types), ([name, type]) =>
      Effect.map(fs.readFile(path.join(folder, name)), (body) => [name, { type, body }] as const)
    )
    return new Map(files)
  })
