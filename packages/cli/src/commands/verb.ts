import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Output from "../shell/output.js"
import * as Progress from "../shell/progress.js"

interface Shared {
  readonly output: Output.Format
  readonly progress: Progress.Mode
}

/** Loads what a command needs only when it runs. */
export const lazily = <M, A, E, R>(
  load: () => Promise<M>,
  use: (module: M) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.flatMap(Effect.promise(load), use)

/** A command with the options that all have (`shared`), over the services that those choose. */
export const verb = <Name extends string, R, E, A extends Shared>(
  description: string,
  command: Command.Command<Name, R, E, A>
) =>
  command.pipe(
    Command.provide(({ output, progress }: A) => Layer.merge(Output.layer(output), Progress.layer(progress))),
    Command.withDescription(description)
  )

/** Commands under a name. */
export const group = <Name extends string>(name: Name, description: string) =>
  Command.make(name).pipe(Command.withDescription(description))
