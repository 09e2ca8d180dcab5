import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { defined, isJsonObject, textOf } from "../text/json.js"
import type { ThisProcess } from "./process.js"

/** Who holds a lock. */
export interface Holder {
  readonly host: string
  readonly pid: number
  /** When the process was started, where the system tells: pids are used again. */
  readonly start?: string | undefined
  /** Of this holding, anew each time. */
  readonly id: string
}

/** The lock is held by somebody who lives, or nobody can tell. */
export interface Refusal {
  readonly _tag: "Refused"
  readonly file: string
  /** Missing when the file does not say. */
  readonly holder: Holder | undefined
}

const exists = (error: PlatformError) => error._tag === "SystemError" && error.reason === "AlreadyExists"
const isMissing = (error: PlatformError) => error._tag === "SystemError" && error.reason === "NotFound"

const parse = (text: string): Holder | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    if (!isJsonObject(value)) return undefined
    const { host, id, pid } = value
    if (typeof host !== "string" || typeof pid !== "number" || typeof id !== "string") return undefined
    // It becomes part of a file's name.
    if (!/^[\w-]{1,100}$/.test(id)) return undefined
    return { host, id, pid, ...defined({ start: textOf(value["start"]) }) }
  } catch {
    return undefined
  }
}

const counter = globalValue("effect-runpod/lockCounter", () => ({ count: 0 }))

/** Unlike any other, also when the clock stands still and chance is seeded. */
const nextId = (self: ThisProcess): Effect.Effect<string> =>
  Effect.zipWith(Clock.currentTimeMillis, Random.nextIntBetween(0, 2 ** 32), (now, random) =>
    [self.pid, now, counter.count++, random].map((part) => part.toString(36)).join("-")
  )

/** When a process was started, in the system's own unit, where there is a `/proc`. */
const startOf = (fs: FileSystem, pid: number): Effect.Effect<string | undefined> =>
  fs.readFileString(`/proc/${pid}/stat`).pipe(
    // The second field is a name in parentheses that can hold anything; the start is the 22nd.
    Effect.map((stat) => stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]),
    Effect.orElseSucceed(() => undefined)
  )

const hasEnded = (fs: FileSystem, holder: Holder, self: ThisProcess): Effect.Effect<boolean> => {
  if (holder.host !== self.host) return Effect.succeed(false)
  if (!self.isAlive(holder.pid)) return Effect.succeed(true)
  return Effect.map(
    startOf(fs, holder.pid),
    (start) => start !== undefined && holder.start !== undefined && start !== holder.start
  )
}

/** Who holds the lock: nobody when there is no such file. */
const readHolder = (fs: FileSystem, file: string): Effect.Effect<Holder | "Nobody" | undefined, PlatformError> =>
  Effect.catchIf(Effect.map(fs.readFileString(file), parse), isMissing, () => Effect.succeed("Nobody" as const))

/** Creates the lock unless there is one. Where there are no links, the file is created and then written. */
const create = (fs: FileSystem, draft: string, file: string, text: string): Effect.Effect<boolean, PlatformError> =>
  fs.link(draft, file).pipe(
    Effect.catchIf(
      (error) => !exists(error),
      () => fs.writeFileString(file, text, { flag: "wx" })
    ),
    Effect.as(true),
    Effect.catchIf(exists, () => Effect.succeed(false))
  )

/**
 * Takes a lock file.
 *
 * It appears with everything in it: written under a name of its own (flag `wx`), then linked to the lock's name, which fails
 * when there is one. One whose holder has ended is taken over under a second lock, named after that holding: only who has
 * it, and still finds the dead holding there, replaces the file. A taker that dies meanwhile leaves a second lock that is
 * taken over in the same way.
 */
const take = (
  fs: FileSystem,
  file: string,
  self: ThisProcess,
  force: boolean
): Effect.Effect<Holder | Refusal, PlatformError> =>
  Effect.gen(function* () {
    const id = yield* nextId(self)
    const start = yield* startOf(fs, self.pid)
    const holder: Holder = { host: self.host, pid: self.pid, ...defined({ start }), id }
    const draft = `${file}.${id}.new`
    const text = JSON.stringify(holder)

    const replace = (dead: Holder): Effect.Effect<boolean | Refusal, PlatformError> => {
      const claimFile = `${file}.${dead.id}`
      return Effect.flatMap(
        take(fs, claimFile, self, false),
        (claim): Effect.Effect<boolean | Refusal, PlatformError> => {
          // Somebody else is taking it over at this moment.
          if ("_tag" in claim) return Effect.succeed({ ...claim, file })
          return readHolder(fs, file).pipe(
            Effect.flatMap((now) =>
              now !== "Nobody" && now?.id === dead.id ? Effect.as(fs.rename(draft, file), true) : Effect.succeed(false)
            ),
            Effect.ensuring(release(fs, claimFile, claim))
          )
        }
      )
    }

    const attempt: Effect.Effect<Holder | Refusal, PlatformError> = Effect.gen(function* () {
      if (force) {
        yield* fs.rename(draft, file)
        return holder
      }
      for (;;) {
        if (yield* create(fs, draft, file, text)) return holder
        const other = yield* readHolder(fs, file)
        // It was given back meanwhile.
        if (other === "Nobody") continue
        if (other === undefined || !(yield* hasEnded(fs, other, self))) {
          return { _tag: "Refused" as const, file, holder: other }
        }
        const replaced = yield* replace(other)
        if (replaced === true) return holder
        if (replaced !== false) return replaced
      }
    })

    yield* fs.writeFileString(draft, text, { flag: "wx" })
    return yield* Effect.ensuring(attempt, Effect.ignore(fs.remove(draft, { force: true })))
  })

const release = (fs: FileSystem, file: string, holder: Holder): Effect.Effect<void> =>
  Effect.flatMap(readHolder(fs, file), (now) =>
    // Another may have forced it.
    now === "Nobody" || now?.id !== holder.id ? Effect.void : fs.remove(file, { force: true })
  ).pipe(Effect.ignore)

/** Holds a lock file until the scope closes. */
export const acquire = (
  fs: FileSystem,
  file: string,
  options: { readonly self: ThisProcess; readonly force: boolean }
): Effect.Effect<void, PlatformError | Refusal, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.flatMap(take(fs, file, options.self, options.force), (taken) =>
      "_tag" in taken ? Effect.fail(taken) : Effect.succeed(taken)
    ),
    (holder) => release(fs, file, holder)
  )
