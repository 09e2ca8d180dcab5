import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/**
 * What is said when a signal stops the command: what goes on at RunPod, and the command that resumes it. Whoever has started something
 * says so; what was said last counts.
 */
export interface Service {
  readonly say: (lines: () => ReadonlyArray<string>) => Effect.Effect<void>
}

export class Stopping extends Context.Tag("effect-runpod-cli/Stopping")<Stopping, Service>() {}

/** The service, and what it was told last. Plain state of one process. */
export class State implements Service {
  private current: () => ReadonlyArray<string> = () => []

  readonly say = (lines: () => ReadonlyArray<string>) => Effect.sync(() => void (this.current = lines))

  get lines(): ReadonlyArray<string> {
    return this.current()
  }
}

/** An argument as a shell takes it. */
const quoted = (argument: string): string =>
  /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`

/** A command as a user types it. */
export const commandOf = (...args: ReadonlyArray<string>): string => ["effect-runpod", ...args].map(quoted).join(" ")
