import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { isJsonObject, textOf } from "../text/json.js"
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

/** The lock is held by a process that lives, or nobody can tell. */
export interface Refusal {
  readonly _tag: "Refused"
  readonly file: string
  /** Missing when the file does not say. */
  readonly holder: Holder | undefined
}

/** A lock file, and the process that wants it. */
export interface Lock {
  readonly fs: FileSystem
  readonly file: string
  readonly self: ThisProcess
}

/** A process on its way to a lock: its entry is written already, under a name of its own. */
interface Candidate extends Lock {
  readonly holder: Holder
  readonly draft: string
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
    return { host, id, pid, start: textOf(value["start"]) }
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

const hasEnded = ({ fs, self }: Lock, holder: Holder): Effect.Effect<boolean> => {
  if (holder.host !== self.host) return Effect.succeed(false)
  if (!self.isAlive(holder.pid)) return Effect.succeed(true)
  return Effect.map(
    startOf(fs, holder.pid),
    (start) => start !== undefined && holder.start !== undefined && start !== holder.start
  )
}

/** Who holds the lock; `undefined` when the file does not say, "Nobody" when there is none. */
const readHolder = ({ file, fs }: Lock): Effect.Effect<Holder | "Nobody" | undefined, PlatformError> =>
  Effect.catchIf(Effect.map(fs.readFileString(file), parse), isMissing, () => Effect.succeed("Nobody" as const))

const isHeldBy = (lock: Lock, { id }: Holder): Effect.Effect<boolean, PlatformError> =>
  Effect.map(readHolder(lock), (now) => now !== "Nobody" && now?.id === id)

/** Creates the lock file, whole, unless there is one. */
const create = ({ draft, file, fs, holder }: Candidate): Effect.Effect<boolean, PlatformError> =>
  fs.link(draft, file).pipe(
    Effect.catchIf(
      (error) => !exists(error),
      // A file system without links: others may see the file before it is written, and are refused.
      () => fs.writeFileString(file, JSON.stringify(holder), { flag: "wx" })
    ),
    Effect.as(true),
    Effect.catchIf(exists, () => Effect.succeed(false))
  )

/** Replaces the entry of a process that has ended; false when it is no longer there. */
const takeOver = (candidate: Candidate, dead: Holder): Effect.Effect<boolean | Refusal, PlatformError> => {
  const { draft, file, fs, self } = candidate
  const second: Lock = { fs, self, file: `${file}.${dead.id}` }
  return Effect.gen(function* () {
    const claim = yield* take(second)
    // Another process is taking the lock over at this moment.
    if ("_tag" in claim) return { ...claim, file }
    return yield* Effect.gen(function* () {
      if (!(yield* isHeldBy(candidate, dead))) return false
      yield* fs.rename(draft, file)
      return true
    }).pipe(Effect.ensuring(release(second, claim)))
  })
}

const compete = Effect.fnUntraced(function* (candidate: Candidate) {
  for (;;) {
    if (yield* create(candidate)) return candidate.holder
    const other = yield* readHolder(candidate)
    // It was released meanwhile.
    if (other === "Nobody") continue
    if (other === undefined || !(yield* hasEnded(candidate, other))) {
      return { _tag: "Refused" as const, file: candidate.file, holder: other }
    }
    const taken = yield* takeOver(candidate, other)
    if (taken === true) return candidate.holder
    if (taken !== false) return taken
  }
})

/**
 * Takes a lock file; with `force` whoever holds it.
 *
 * It appears with everything in it: written under a name of its own (flag `wx`), then linked to the lock's name, which fails
 * when there is one. One whose holder has ended is taken over under a second lock, named after that holding: only who has
 * it, and still finds the dead holding there, replaces the file. A process that dies while taking over leaves a second lock
 * that is taken over in the same way.
 */
const take = (lock: Lock, force = false): Effect.Effect<Holder | Refusal, PlatformError> =>
  Effect.gen(function* () {
    const { file, fs, self } = lock
    const id = yield* nextId(self)
    const holder: Holder = { host: self.host, pid: self.pid, start: yield* startOf(fs, self.pid), id }
    const candidate: Candidate = { ...lock, holder, draft: `${file}.${id}.new` }
    yield* fs.writeFileString(candidate.draft, JSON.stringify(holder), { flag: "wx" })
    const taken = force ? Effect.as(fs.rename(candidate.draft, file), holder) : compete(candidate)
    return yield* Effect.ensuring(taken, Effect.ignore(fs.remove(candidate.draft, { force: true })))
  })

const release = (lock: Lock, holder: Holder): Effect.Effect<void> =>
  // Another process may have taken it with `force`.
  Effect.flatMap(isHeldBy(lock, holder), (isOurs) =>
    isOurs ? lock.fs.remove(lock.file, { force: true }) : Effect.void
  ).pipe(Effect.ignore)

/** Holds a lock file until the scope closes. */
export const acquire = ({
  force,
  ...lock
}: Lock & { readonly force: boolean }): Effect.Effect<void, PlatformError | Refusal, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.flatMap(take(lock, force), (taken) => ("_tag" in taken ? Effect.fail(taken) : Effect.succeed(taken))),
    (holder) => release(lock, holder)
  )
