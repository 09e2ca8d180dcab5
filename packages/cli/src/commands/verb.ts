import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Types from "effect/Types"
import * as Output from "../shell/output.js"
import * as Progress from "../shell/progress.js"
import type { Spec } from "../spec/spec.js"
import { specsOf } from "./options.js"

interface Shared {
  readonly output: Output.Format
  readonly progress: Progress.Mode
}

/** What commands and groups are, as data. */
const specs = new WeakMap<object, Spec>()

/** What a command of the program is, below the words of its groups. */
export const specOf = (command: object): Spec => {
  const spec = specs.get(command)
  if (spec === undefined) throw new Error("a command was made without `verb` or `group`")
  return spec
}

const below = (spec: Spec, name: string): Spec => ({
  ...spec,
  path: [name, ...spec.path],
  commands: spec.commands.map((command) => below(command, name))
})

/** What a group of commands is. */
export const groupSpec = (path: ReadonlyArray<string>, description: string, commands: ReadonlyArray<object>): Spec => {
  const [name] = path
  const all = commands.map(specOf)
  return {
    path,
    description,
    arguments: [],
    options: [],
    commands: name === undefined ? all : all.map((spec) => below(spec, name))
  }
}

/** Loads what a command needs only when it runs. */
export const lazily = <M, A, E, R>(
  load: () => Promise<M>,
  use: (module: M) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.flatMap(Effect.promise(load), use)

/** `Command.make`, which notes what the command takes. */
export const define = <Name extends string, const Config extends Command.Command.Config, R, E>(
  name: Name,
  config: Config,
  handler: (args: Types.Simplify<Command.Command.ParseConfig<Config>>) => Effect.Effect<void, E, R>
) => {
  const command = Command.make(name, config, handler)
  specs.set(command, { path: [name], description: "", commands: [], ...specsOf(config) })
  return command
}

/** A command with the options that all have (`shared`), over the services that those choose. */
export const verb = <Name extends string, R, E, A extends Shared>(
  description: string,
  command: Command.Command<Name, R, E, A>
) => {
  const provided = command.pipe(
    Command.provide(({ output, progress }: A) => Layer.merge(Output.layer(output), Progress.layer(progress))),
    Command.withDescription(description)
  )
  specs.set(provided, { ...specOf(command), description })
  return provided
}

/** Notes the commands of a group. */
export const group = <C extends object>(
  name: string,
  description: string,
  { commands, made }: { readonly commands: ReadonlyArray<object>; readonly made: C }
): C => {
  specs.set(made, groupSpec([name], description, commands))
  return made
}
