import * as Args from "@effect/cli/Args"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { formats } from "../shell/output.js"
import { modes } from "../shell/progress.js"

/** An option that need not be given. */
export const optional = <A>(options: Options.Options<A>): Options.Options<A | undefined> =>
  Options.map(Options.optional(options), Option.getOrUndefined)

/** `@effect/cli` takes an option that it does not know for an argument, and would submit it: an argument that looks like one is refused. */
const noOption = (value: string): Effect.Effect<string, HelpDoc.HelpDoc> =>
  /^--?[a-z]/i.test(value) ? Effect.fail(HelpDoc.p(`Unknown option ${value}`)) : Effect.succeed(value)

/** A text in its place. */
export const argument = (name: string, description: string): Args.Args<string> =>
  Args.text({ name }).pipe(Args.mapEffect(noOption), Args.withDescription(description))

/** A text in its place that need not be given. */
export const optionalArgument = (name: string, description: string): Args.Args<string | undefined> =>
  Args.map(Args.optional(argument(name, description)), Option.getOrUndefined)

/** Any number of texts. */
export const argumentList = (name: string, description: string): Args.Args<ReadonlyArray<string>> =>
  Args.repeated(argument(name, description))

const units: Readonly<Record<string, string>> = { ms: "millis", s: "seconds", m: "minutes", h: "hours", d: "days" }

const durationOf = (text: string): Option.Option<Duration.Duration> => {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(text.trim()) ?? []
  const input = number === undefined ? text : `${number} ${units[unit]}`
  return Duration.decodeUnknown(input)
}

/** A length of time, such as `90s`, `5m` or `2h`. */
export const duration = (name: string, description: string): Options.Options<Duration.Duration> =>
  Options.text(name).pipe(
    Options.withPseudoName("duration"),
    Options.filterMap(durationOf, `--${name} takes a length of time, such as 90s, 5m or 2h`),
    Options.withDescription(description)
  )

const isCount = (number: number) => number >= 1

/** A whole number from 1 on. */
export const count = (name: string, description: string): Options.Options<number> =>
  Options.integer(name).pipe(
    Options.filterMap(Option.liftPredicate(isCount), `--${name} takes a whole number from 1 on`),
    Options.withDescription(description)
  )

/** A number of dollars. */
export const dollars = (name: string, description: string): Options.Options<number> =>
  Options.float(name).pipe(
    Options.filterMap(
      Option.liftPredicate((usd: number) => usd >= 0),
      `--${name} takes a number of dollars`
    ),
    Options.withPseudoName("usd"),
    Options.withDescription(description)
  )

/** A text, such as the path of a file. `-` is one. */
export const text = (name: string, pseudoName: string, description: string): Options.Options<string> =>
  Options.text(name).pipe(Options.withPseudoName(pseudoName), Options.withDescription(description))

/** What is off unless it is given. */
export const flag = (name: string, description: string): Options.Options<boolean> =>
  Options.boolean(name).pipe(Options.withDescription(description))

/** Where a server of this machine listens. */
export const port = Options.integer("port").pipe(
  Options.withDefault(0),
  Options.withDescription("Where it listens; 0 for any free port")
)

/** What every command takes. */
export const shared = {
  output: Options.choice("output", formats).pipe(
    Options.withAlias("o"),
    Options.withDefault("text" as const),
    Options.withDescription("How data is written to stdout; text unless it is given, in pipes, too")
  ),
  progress: Options.choice("progress", modes).pipe(
    Options.withDefault("auto" as const),
    Options.withDescription("How progress is shown on stderr; auto is one changing line on a terminal, lines elsewhere")
  )
}

/** What commands take that ask RunPod. */
export const access = {
  keyFile: optional(text("key-file", "path", "A file with the API key; without it the key comes from RUNPOD_API_KEY"))
}

/** What commands take that submit. */
export const recorded = {
  ...access,
  record: optional(
    text("record", "path", "Record what goes over the wire, without its contents, in this file: see flight inspect")
  )
}

export const endpoint = argument("endpoint", "The id of the endpoint")
export const job = argument("job", "The id of the job")
