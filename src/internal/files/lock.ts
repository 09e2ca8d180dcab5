import type { PlatformError } from "@effect/platform/Error"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { defined } from "../text/json.js"
import { AppendLogError, ioError, isMissing, type LogFile } from "./logFile.js"

export interface Choices {
  /** Takes the lock whoever has it. Default: false. */
  readonly force?: boolean | undefined
  /** Default: what the runtime says. Where nobody can tell, the lock of another is never taken over. */
  readonly process?: ThisProcess | undefined
}

interface ThisProcess {
  readonly host: string
  readonly pid: number
  readonly isAlive: (pid: number) => boolean
}

/** Where a process number means something, as far as the system tells. */
const Place = {
  host: Schema.String,
  /** Of the start of the machine, anew at each. Containers of one machine have the same. */
  boot: Schema.optional(Schema.String),
  /** Of the process numbers: each container has its own, also beside others of the same host name. */
  namespace: Schema.optional(Schema.String)
}

const Holder = Schema.Struct({
  ...Place,
  pid: Schema.Number,
  /** When the process was started, where the system tells: pids are used again. */
  start: Schema.optional(Schema.String),
  /** Of this holding, anew each time. It becomes part of a file's name. */
  id: Schema.String.pipe(Schema.pattern(/^[\w-]{1,100}$/))
})
type Holder = typeof Holder.Type

const decode = Schema.decodeUnknownOption(Schema.parseJson(Holder))

/** The lock is held by a process that lives, or nobody can tell. */
interface Refusal {
  readonly _tag: "Refused"
  /** Missing when the file does not say. */
  readonly holder: Holder | undefined
}

interface Lock extends LogFile {
  readonly self: ThisProcess & Pick<Holder, "boot" | "namespace">
}

/** A process on its way to a lock: its entry is written already, under a name of its own. */
interface Candidate extends Lock {
  readonly holder: Holder
  readonly draft: string
}

const exists = (error: PlatformError) => error._tag === "SystemError" && error.reason === "AlreadyExists"

const counter = globalValue("effect-runpod/lockCounter", () => ({ count: 0 }))

/** Unlike any other, also when the clock stands still and chance is seeded. */
const nextId = (self: ThisProcess): Effect.Effect<string> =>
  Effect.zipWith(Clock.currentTimeMillis, Random.nextIntBetween(0, 2 ** 32), (now, random) =>
    [self.pid, now, counter.count++, random].map((part) => part.toString(36)).join("-")
  )

const orUndefined = <A>(effect: Effect.Effect<A, PlatformError>): Effect.Effect<A | undefined> =>
  Effect.orElseSucceed(effect, () => undefined)

/** What `/proc` says of a process, where there is one. */
interface Stat {
  /** When it was started, in the system's own unit. */
  readonly start: string | undefined
  /** It has ended, but its parent has not asked how. */
  readonly isZombie: boolean
}

const statOf = ({ fs }: LogFile, pid: number): Effect.Effect<Stat> =>
  Effect.map(orUndefined(fs.readFileString(`/proc/${pid}/stat`)), (stat) => {
    // The second field is a name in parentheses that can hold anything. State, threads and start are the 3rd, 20th and 22nd.
    const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ") ?? []
    const [state = "", threads, start] = [fields[0], fields[17], fields[19]]
    // While threads of it are left, they may still be writing.
    return { start, isZombie: (state === "Z" || state === "X") && Number(threads) <= 1 }
  })

/** The boot and the namespace of this process: Linux only. */
const placeOf = ({ fs }: LogFile): Effect.Effect<Pick<Holder, "boot" | "namespace">> =>
  Effect.zipWith(
    orUndefined(fs.readFileString("/proc/sys/kernel/random/boot_id")),
    orUndefined(fs.readLink("/proc/self/ns/pid")),
    (boot, namespace) => defined({ boot: boot?.trim(), namespace })
  )

/**
 * Why nobody can tell from here whether a holder lives. Another boot of a machine of this name may be a restart, or another
 * machine with the same name on a shared volume: that cannot be told apart, so it counts as another machine. A lock of an
 * earlier version does not say either, and is judged by its host name.
 */
const distanceOf = (holder: Holder, self: Pick<Holder, "host" | "boot" | "namespace">): string | undefined => {
  if (holder.host !== self.host) return "a machine that cannot be asked from here"
  if (holder.boot !== undefined && holder.boot !== self.boot) {
    return "another machine of this name, or this one before it was restarted"
  }
  if (holder.namespace !== undefined && holder.namespace !== self.namespace) {
    return `but in another PID namespace (${holder.namespace}), such as another container, which cannot be asked from here`
  }
  return undefined
}

const hasEnded = (lock: Lock, holder: Holder): Effect.Effect<boolean> => {
  if (distanceOf(holder, lock.self) !== undefined) return Effect.succeed(false)
  if (!lock.self.isAlive(holder.pid)) return Effect.succeed(true)
  return Effect.map(
    statOf(lock, holder.pid),
    ({ isZombie, start }) => isZombie || (start !== undefined && holder.start !== undefined && start !== holder.start)
  )
}

/** Who holds the lock; `undefined` when the file does not say, "Nobody" when there is none. */
const readHolder = ({ fs, path }: Lock): Effect.Effect<Holder | "Nobody" | undefined, PlatformError> =>
  fs.readFileString(path).pipe(
    Effect.map((text) => Option.getOrUndefined(decode(text))),
    Effect.catchIf(isMissing, () => Effect.succeed("Nobody" as const))
  )

const isHeldBy = (lock: Lock, { id }: Holder): Effect.Effect<boolean, PlatformError> =>
  Effect.map(readHolder(lock), (now) => now !== "Nobody" && now?.id === id)

/** Creates the lock file, whole, unless there is one. */
const create = ({ draft, fs, holder, path }: Candidate): Effect.Effect<boolean, PlatformError> =>
  fs.link(draft, path).pipe(
    Effect.catchIf(
      (error) => !exists(error),
      // A file system without links: others may see the file before it is written, and are refused.
      () => fs.writeFileString(path, JSON.stringify(holder), { flag: "wx" })
    ),
    Effect.as(true),
    Effect.catchIf(exists, () => Effect.succeed(false))
  )

const compete = Effect.fnUntraced(function* (candidate: Candidate): Effect.fn.Return<Holder, PlatformError | Refusal> {
  const { draft, fs, path, self } = candidate
  for (;;) {
    if (yield* create(candidate)) return candidate.holder
    const holder = yield* readHolder(candidate)
    // It was released meanwhile.
    if (holder === "Nobody") continue
    if (holder === undefined || !(yield* hasEnded(candidate, holder))) {
      return yield* Effect.fail({ _tag: "Refused" as const, holder })
    }
    // Refused while another process takes the lock over.
    const isTaken = yield* acquire({ fs, self, path: `${path}.${holder.id}` }).pipe(
      Effect.zipRight(isHeldBy(candidate, holder)),
      Effect.tap((isThere) => (isThere ? fs.rename(draft, path) : Effect.void)),
      Effect.scoped
    )
    if (isTaken) return candidate.holder
  }
})

/**
 * Takes a lock file; with `force` whoever holds it. It appears with everything in it: written under a name of its own, then
 * linked to the lock's name, which fails when there is one. One whose holder has ended is taken over under a second lock,
 * named after that holding: only who has it, and still finds the dead holding there, replaces the file. A process that dies
 * meanwhile leaves a second lock that is taken over in the same way.
 */
const take = Effect.fnUntraced(function* (lock: Lock, force: boolean) {
  const { fs, path, self } = lock
  const id = yield* nextId(self)
  const { boot, host, namespace, pid } = self
  const { start } = yield* statOf(lock, pid)
  const holder: Holder = { host, pid, id, ...defined({ boot, namespace, start }) }
  const candidate: Candidate = { ...lock, holder, draft: `${path}.${id}.new` }
  yield* fs.writeFileString(candidate.draft, JSON.stringify(holder), { flag: "wx" })
  const taken = force ? Effect.as(fs.rename(candidate.draft, path), holder) : compete(candidate)
  return yield* Effect.ensuring(taken, Effect.ignore(fs.remove(candidate.draft, { force: true })))
})

const release = (lock: Lock, holder: Holder): Effect.Effect<void> =>
  // Another process may have taken it with `force`.
  Effect.flatMap(isHeldBy(lock, holder), (isOurs) =>
    isOurs ? lock.fs.remove(lock.path, { force: true }) : Effect.void
  ).pipe(Effect.ignore)

const acquire = (lock: Lock, force = false): Effect.Effect<void, PlatformError | Refusal, Scope.Scope> =>
  Effect.acquireRelease(take(lock, force), (holder) => release(lock, holder))

const refusal = ({ self }: Lock, file: string, holder: Holder | undefined): AppendLogError => {
  const distance = holder === undefined ? undefined : distanceOf(holder, self)
  const who =
    holder === undefined
      ? "it does not say who holds it"
      : `process ${holder.pid} on ${holder.host} holds it${distance === undefined ? "" : `, ${distance}`}`
  const detail = `${who}. Wait for it to end; if it has ended, remove this file or pass \`force: true\`.`
  return new AppendLogError({ reason: "Locked", file, detail })
}

/** Holds the lock of a log, the file with `.lock` behind its path, until the scope closes. */
export const hold = Effect.fnUntraced(function* (
  log: LogFile,
  { force, process }: Choices
): Effect.fn.Return<void, AppendLogError, Scope.Scope> {
  const self = process ?? thisProcess() ?? { host: "unknown", pid: 0, isAlive: () => true }
  const file = `${log.path}.lock`
  const lock: Lock = { ...log, path: file, self: { ...self, ...(yield* placeOf(log)) } }
  yield* Effect.mapError(acquire(lock, force), (error) =>
    error._tag === "Refused" ? refusal(lock, file, error.holder) : ioError(file)(error)
  )
})

/** What is used of the `process` global, where there is one. */
interface ProcessGlobal {
  readonly pid?: unknown
  readonly kill?: (pid: number, signal: number) => unknown
  readonly getBuiltinModule?: (name: string) => { readonly hostname?: () => unknown } | undefined
}

/** What Node, Bun and Deno tell. Looked up, not imported, so that this can be loaded everywhere. */
const thisProcess = (): ThisProcess | undefined => {
  const { process } = globalThis as { readonly process?: ProcessGlobal }
  const host = process?.getBuiltinModule?.("node:os")?.hostname?.()
  if (typeof host !== "string" || typeof process?.pid !== "number") return undefined
  const isAlive = (pid: number): boolean => {
    try {
      process.kill?.(pid, 0)
      return true
    } catch (error) {
      // Anything but "no such process" (a process of another user, say) is one that lives.
      return !hasProperty(error, "code") || error.code !== "ESRCH"
    }
  }
  return { host, pid: process.pid, isAlive }
}
