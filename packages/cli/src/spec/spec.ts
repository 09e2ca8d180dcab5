/** What a command takes, as data: help, completions and the check of a command line are made of it. */

/** What a value is, for those who complete it. */
export type Value =
  | { readonly kind: "text" }
  | { readonly kind: "file" }
  | { readonly kind: "choice"; readonly choices: ReadonlyArray<string> }

/** An argument in its place. */
export interface Argument {
  readonly name: string
  readonly description: string
  readonly value: Value
  readonly isOptional: boolean
  /** Any number of them; the last argument only. */
  readonly isRepeated: boolean
}

export interface Option {
  /** With their dashes, such as `--output` and `-o`. */
  readonly names: ReadonlyArray<string>
  readonly description: string
  /** Missing where the option is on or off. */
  readonly value?: Value & {
    /** What stands for the value in help, such as `path`. */
    readonly placeholder: string
  }
  readonly isRequired: boolean
  readonly isRepeated: boolean
}

/** A command, or a group of commands below it. */
export interface Spec {
  /** The words that name it; none for the program itself. */
  readonly path: ReadonlyArray<string>
  readonly description: string
  readonly arguments: ReadonlyArray<Argument>
  readonly options: ReadonlyArray<Option>
  readonly commands: ReadonlyArray<Spec>
}

export const logLevels: ReadonlyArray<string> = [
  ...["all", "trace", "debug", "info", "warning", "error", "fatal", "none"]
]

/** What every command takes beside its own options. */
export const builtIn: ReadonlyArray<Option> = [
  { names: ["--help", "-h"], description: "Show this help", isRequired: false, isRepeated: false },
  { names: ["--version"], description: "Show the version", isRequired: false, isRepeated: false },
  {
    names: ["--log-level"],
    description: "What is logged to stderr at least; with debug also the trace of a defect",
    value: { kind: "choice", choices: logLevels, placeholder: "level" },
    isRequired: false,
    isRepeated: false
  }
]

/** A command and all below it. */
export const flatten = (spec: Spec): ReadonlyArray<Spec> => [spec, ...spec.commands.flatMap(flatten)]

export const optionOf = (spec: Spec, name: string): Option | undefined =>
  [...spec.options, ...builtIn].find(({ names }) => names.includes(name))
