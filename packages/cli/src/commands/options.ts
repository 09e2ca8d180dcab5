import * as Args from "@effect/cli/Args"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { formats } from "../shell/output.js"
import { modes } from "../shell/progress.js"
import type * as Spec from "../spec/spec.js"

/** What options and arguments are, beside what `@effect/cli` keeps of them, which nobody else can read. */
const optionSpecs = new WeakMap<object, Spec.Option>()
const argumentSpecs = new WeakMap<object, Spec.Argument>()

/** What a command takes, by the values of its configuration. */
export const specsOf = (config: Readonly<Record<string, unknown>>) => {
  const found = <A>(specs: WeakMap<object, A>) =>
    Object.values(config).flatMap((value) =>
      typeof value === "object" && value !== null ? (specs.get(value) ?? []) : []
    )
  return { arguments: found(argumentSpecs), options: found(optionSpecs) }
}

const noted = <O extends object, S>(specs: WeakMap<object, S>, options: O, spec: S | undefined): O => {
  if (spec !== undefined) specs.set(options, spec)
  return options
}

const changed = <O extends object, S>(specs: WeakMap<object, S>, from: object, to: O, change: Partial<S>): O => {
  const spec = specs.get(from)
  return noted(specs, to, spec && { ...spec, ...change })
}

/** An option that need not be given. */
export const optional = <A>(options: Options.Options<A>): Options.Options<A | undefined> =>
  changed(optionSpecs, options, Options.map(Options.optional(options), Option.getOrUndefined), { isRequired: false })

/** An option that has a value though it is not given. */
export const withDefault = <A>(options: Options.Options<A>, value: A): Options.Options<A> =>
  changed(optionSpecs, options, Options.withDefault(options, value), { isRequired: false })

const textValue: Spec.Value = { kind: "text" }
const fileValue: Spec.Value = { kind: "file" }

/** `@effect/cli` takes an option that it does not know for an argument, and would submit it: an argument that looks like one is refused. */
const noOption = (value: string): Effect.Effect<string, HelpDoc.HelpDoc> =>
  /^--?[a-z]/i.test(value) ? Effect.fail(HelpDoc.p(`Unknown option ${value}`)) : Effect.succeed(value)

const argumentOf = (name: string, description: string, value: Spec.Value): Args.Args<string> =>
  noted(argumentSpecs, Args.text({ name }).pipe(Args.mapEffect(noOption), Args.withDescription(description)), {
    name,
    description,
    value,
    isOptional: false,
    isRepeated: false
  })

/** A text in its place. */
export const argument = (name: string, description: string): Args.Args<string> =>
  argumentOf(name, description, textValue)

/** The path of a file in its place. */
export const fileArgument = (name: string, description: string): Args.Args<string> =>
  argumentOf(name, description, fileValue)

/** One of some texts in its place. */
export const choiceArgument = <A extends string>(
  name: string,
  choices: ReadonlyArray<A>,
  description: string
): Args.Args<A> => {
  const args = Args.choice<A>(
    choices.map((choice) => [choice, choice]),
    { name }
  )
  const value = { kind: "choice", choices } as const
  return noted(argumentSpecs, args, { name, description, value, isOptional: false, isRepeated: false })
}

/** An argument that need not be given. */
export const optionalArgument = (args: Args.Args<string>): Args.Args<string | undefined> =>
  changed(argumentSpecs, args, Args.map(Args.optional(args), Option.getOrUndefined), { isOptional: true })

/** Any number of arguments. */
export const argumentList = (args: Args.Args<string>): Args.Args<ReadonlyArray<string>> =>
  changed(argumentSpecs, args, Args.repeated(args), { isRepeated: true })

const units: Readonly<Record<string, string>> = { ms: "millis", s: "seconds", m: "minutes", h: "hours", d: "days" }

const durationOf = (text: string): Option.Option<Duration.Duration> => {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(text.trim()) ?? []
  const input = number === undefined ? text : `${number} ${units[unit]}`
  return Duration.decodeUnknown(input)
}

interface Given<A> {
  readonly description: string
  readonly placeholder: string
  /** What the option takes, for who gives something else. */
  readonly takes: string
  readonly value?: Spec.Value
  readonly read: (text: string) => Option.Option<A>
}

/** An option whose value is a text that is read. */
const option = <A>(name: string, { description, placeholder, read, takes, value = textValue }: Given<A>) =>
  noted(
    optionSpecs,
    Options.text(name).pipe(
      Options.withPseudoName(placeholder),
      Options.filterMap(read, `--${name} takes ${takes}`),
      Options.withDescription(description)
    ),
    {
      names: [`--${name}`],
      description,
      value: { ...value, placeholder },
      isRequired: true,
      isRepeated: false
    }
  )

const lengthOfTime = (
  name: string,
  description: string,
  isAllowed: (duration: Duration.Duration) => boolean,
  bounds = ""
): Options.Options<Duration.Duration> =>
  option(name, {
    description,
    placeholder: "duration",
    takes: `a length of time${bounds}, such as 90s, 5m or 2h`,
    read: (text) => Option.filter(durationOf(text), isAllowed)
  })

/** A length of time, such as `90s`, `5m` or `2h`. */
export const duration = (name: string, description: string): Options.Options<Duration.Duration> =>
  lengthOfTime(name, description, () => true)

/** As `duration`, but no time at all makes no sense. */
export const positiveDuration = (name: string, description: string): Options.Options<Duration.Duration> =>
  lengthOfTime(name, description, Duration.greaterThan(0))

/** As `duration`, from so many seconds to RunPod's most, 7 days [facts of RunPod's API]. */
export const policyDuration = (
  name: string,
  description: string,
  seconds: number
): Options.Options<Duration.Duration> =>
  lengthOfTime(
    name,
    description,
    Duration.between({ minimum: Duration.seconds(seconds), maximum: Duration.days(7) }),
    ` from ${seconds}s to 7d`
  )

const wholeNumber = (least: number, most: number) => (text: string) => {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN
  return number >= least && number <= most ? Option.some(number) : Option.none()
}

/** A whole number from 1 on. */
export const count = (name: string, description: string): Options.Options<number> =>
  option(name, {
    description,
    placeholder: "integer",
    takes: "a whole number from 1 on",
    read: wholeNumber(1, Number.MAX_SAFE_INTEGER)
  })

/** A number of dollars. */
export const dollars = (name: string, description: string): Options.Options<number> =>
  option(name, {
    description,
    placeholder: "usd",
    takes: "a number of dollars, such as 0.5",
    read: (text) => (/^\d+(?:\.\d+)?(?:e-?\d+)?$|^\.\d+$/i.test(text) ? Option.some(Number(text)) : Option.none())
  })

/** A text. */
export const text = (name: string, placeholder: string, description: string): Options.Options<string> =>
  option(name, {
    description,
    placeholder,
    takes: "a text that is not empty",
    read: Option.liftPredicate((value: string) => value !== "")
  })

/** The path of a file. `-` is one. */
export const file = (name: string, description: string): Options.Options<string> =>
  option(name, {
    description,
    placeholder: "path",
    takes: "the path of a file",
    value: fileValue,
    read: Option.liftPredicate((value: string) => value !== "")
  })

const list = (name: string, description: string, value: NonNullable<Spec.Option["value"]>) =>
  // `@effect/cli` repeats no option whose value it reads.
  noted(
    optionSpecs,
    Options.repeated(
      Options.text(name).pipe(Options.withPseudoName(value.placeholder), Options.withDescription(description))
    ),
    { names: [`--${name}`], description, value, isRequired: false, isRepeated: true }
  )

/** Texts, as many as there are. */
export const textList = (name: string, placeholder: string, description: string): Options.Options<Array<string>> =>
  list(name, description, { ...textValue, placeholder })

/** Paths of files, as many as there are. */
export const fileList = (name: string, description: string): Options.Options<Array<string>> =>
  list(name, description, { ...fileValue, placeholder: "path" })

/** JSON: a literal, `@file` or `-`. */
export const json = (name: string, description: string): Options.Options<string> =>
  option(name, {
    description,
    placeholder: "json",
    takes: "JSON, @file, or - for stdin",
    value: fileValue,
    read: Option.some
  })

const listOf = (choices: ReadonlyArray<string>): string =>
  `${choices.slice(0, -1).join(", ")} or ${choices.at(-1) ?? ""}`

/** One of some texts. */
export const choice = <const A extends string>(
  name: string,
  choices: ReadonlyArray<A>,
  description: string
): Options.Options<A> =>
  option(name, {
    description,
    placeholder: choices.join(" | "),
    takes: listOf(choices),
    value: { kind: "choice", choices },
    read: (text) => Option.fromNullable(choices.find((choice) => choice === text))
  })

/** A second name for an option, of one letter. */
const withAlias = <A>(options: Options.Options<A>, letter: string): Options.Options<A> => {
  const names = [...(optionSpecs.get(options)?.names ?? []), `-${letter}`]
  return changed(optionSpecs, options, Options.withAlias(options, letter), { names })
}

/** What is off unless it is given. */
export const flag = (name: string, description: string): Options.Options<boolean> =>
  noted(optionSpecs, Options.boolean(name).pipe(Options.withDescription(description)), {
    names: [`--${name}`],
    description,
    isRequired: false,
    isRepeated: false
  })

/** Where a server of this machine listens. */
export const port = withDefault(
  option("port", {
    description: "Where it listens; 0 for any free port",
    placeholder: "port",
    takes: "a port from 0 to 65535",
    read: wholeNumber(0, 65_535)
  }),
  0
)

/** What every command takes. */
export const shared = {
  output: withDefault(
    withAlias(choice("output", formats, "How data is written to stdout; text unless it is given, in pipes, too"), "o"),
    "text"
  ),
  progress: withDefault(
    choice(
      "progress",
      modes,
      "How progress is shown on stderr; auto is one changing line on a terminal, lines elsewhere"
    ),
    "auto"
  )
}

/** What commands take that ask RunPod. */
export const access = {
  keyFile: optional(file("key-file", "A file with the API key; without it the key comes from RUNPOD_API_KEY"))
}

/** What commands take that submit. */
export const recorded = {
  ...access,
  record: optional(
    file("record", "Record what goes over the wire, without its contents, in this file: see flight inspect")
  )
}

export const endpoint = argument("endpoint", "The id of the endpoint")
export const job = argument("job", "The id of the job")
