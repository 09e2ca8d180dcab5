import { hasProperty } from "effect/Predicate"

/** The process this code runs in, as far as locks need to know it. */
export interface ThisProcess {
  /** The name of the machine. */
  readonly host: string
  readonly pid: number
  /** Whether a process of this machine is there. */
  readonly isAlive: (pid: number) => boolean
}

const method = (object: unknown, name: string): ((...args: ReadonlyArray<unknown>) => unknown) | undefined => {
  if (!hasProperty(object, name)) return undefined
  const member = object[name]
  if (typeof member !== "function") return undefined
  return (...args) => {
    const result: unknown = Reflect.apply(member, object, args)
    return result
  }
}

/**
 * What runtimes with processes (Node, Bun, Deno) tell through their `process` global; elsewhere, `undefined`. Looked up, not
 * imported, so that this stays loadable everywhere.
 */
export const find = (): ThisProcess | undefined => {
  const world: unknown = globalThis
  const self = hasProperty(world, "process") ? world.process : undefined
  const kill = method(self, "kill")
  const host = method(method(self, "getBuiltinModule")?.("node:os"), "hostname")?.()
  if (kill === undefined || typeof host !== "string") return undefined
  if (!hasProperty(self, "pid") || typeof self.pid !== "number") return undefined
  return {
    host,
    pid: self.pid,
    isAlive: (pid) => {
      try {
        kill(pid, 0)
        return true
      } catch (error) {
        // Anything but "no such process" (a process of another user, say) is one that lives.
        return !hasProperty(error, "code") || error.code !== "ESRCH"
      }
    }
  }
}
