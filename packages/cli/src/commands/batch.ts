import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { inputFormats } from "../batch/formats.js"
import { UsageError } from "../shell/errors.js"
import {
  choice,
  count,
  dollars,
  duration,
  endpoint,
  file,
  fileArgument,
  flag,
  optional,
  optionalArgument,
  policyDuration,
  positiveDuration,
  recorded,
  shared,
  text
} from "./options.js"
import { define, group, lazily, verb } from "./verb.js"

/** What may be chosen anew when a batch is resumed. */
const bounds = {
  out: optional(file("out", "A file for the outcomes, as JSON lines; without it they go to stdout")),
  concurrency: optional(count("concurrency", "How many items are in flight at once")),
  maxFailures: optional(count("max-failures", "Stop at so many failed items")),
  deadline: optional(positiveDuration("deadline", "Stop after this time")),
  maxCost: optional(dollars("max-cost", "Stop before the jobs cost more than this; needs --rate")),
  rate: optional(dollars("rate", "What a worker costs in a second, from RunPod's pricing page")),
  expectedExecution: optional(
    duration("expected-execution", "How long a job is expected to run, for --max-cost until one has ended")
  ),
  retryFailed: flag("retry-failed", "Submit once more what an earlier run with the journal has seen fail"),
  resubmitAmbiguous: flag(
    "resubmit-ambiguous",
    "Submit once more what may have been submitted already, and pay twice at worst"
  ),
  force: flag("force", "Take the journal although another process seems to have it")
}

const run = verb(
  "Submit many inputs, and write the outcomes as they come",
  define(
    "run",
    {
      endpoint,
      inputs: fileArgument("inputs", "A file of JSON lines or CSV, or - for stdin"),
      format: optional(
        choice(
          "format",
          inputFormats,
          "How the inputs are written; by the name of the file unless it is given, for stdin jsonl"
        )
      ),
      key: optional(text("key", "field", "The field of an input that names it; without it its place does")),
      journal: optional(file("journal", "A file that makes the batch outlive this process: see batch resume")),
      ...bounds,
      timeout: optional(positiveDuration("timeout", "How long each item may take, from its submit")),
      executionTimeout: optional(policyDuration("execution-timeout", "How long each job may be on a worker", 5)),
      ttl: optional(policyDuration("ttl", "How long RunPod keeps each job from its submit on", 10)),
      retries: optional(count("retries", "How often a job that has failed is put back in the queue")),
      ...recorded,
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/batch.js"),
        ({ run }) => run(args)
      )
  )
)

const resume = verb(
  "Go on with a batch: what has an outcome is not submitted again, what is in flight is waited for",
  define(
    "resume",
    {
      journal: fileArgument("journal", "The journal of the batch"),
      inputs: optionalArgument(fileArgument("inputs", "The inputs, when they came from stdin or are elsewhere now")),
      ...bounds,
      ...recorded,
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/batch.js"),
        ({ resume }) => resume(args)
      )
  )
)

const batchOrJournal = fileArgument("journal", "The journal of the batch, or with --store its id")

const prefix = optional(text("prefix", "text", "What the names of its tables begin with; runpod_ unless it is given"))

/** Where batches are that a cluster works on. */
const place = {
  store: optional(
    text(
      "store",
      "url",
      "The PostgreSQL that has the batch: its URL without a password, or the name of a variable with it"
    )
  ),
  prefix
}

const list = verb(
  "Show the batches of a store, the newest first",
  define(
    "list",
    {
      store: text("store", "url", "A PostgreSQL: its URL without a password, or the name of a variable with it"),
      prefix,
      limit: optional(count("limit", "How many at most; 20 unless it is given")),
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/store.js"),
        ({ list }) => list(args)
      )
  )
)

/** A journal has no tables. */
const needsStore = ({ prefix }: { readonly prefix: string | undefined }) =>
  prefix === undefined
    ? Effect.void
    : new UsageError({ message: "--prefix is for --store: add that, or leave --prefix out." })

const inspect = verb(
  "Show how the items of a batch stand, also while it runs",
  define(
    "inspect",
    {
      journal: batchOrJournal,
      all: flag("all", "Those that have an outcome, too; without it those that are open, of a store their numbers"),
      ...place,
      ...shared
    },
    ({ store, ...args }) =>
      Effect.gen(function* () {
        if (store !== undefined) {
          const module = yield* Effect.promise(() => import("../handlers/store.js"))
          return yield* module.inspect({ ...args, store })
        }
        const module = yield* Effect.promise(() => import("../handlers/journal.js"))
        yield* needsStore(args)
        return yield* module.inspect(args)
      })
  )
)

const report = verb(
  "Show what a batch has come to",
  define(
    "report",
    {
      journal: batchOrJournal,
      rate: bounds.rate,
      html: optional(file("html", "A file for the report of a journal as a page, or - for stdout")),
      ...place,
      ...shared
    },
    ({ store, ...args }) =>
      Effect.gen(function* () {
        if (store !== undefined) {
          const module = yield* Effect.promise(() => import("../handlers/store.js"))
          return yield* module.report({ ...args, store })
        }
        const module = yield* Effect.promise(() => import("../handlers/journal.js"))
        yield* needsStore(args)
        return yield* module.report(args)
      })
  )
)

const commands = [run, resume, list, inspect, report] as const

export const batch = group("batch", "Many inputs on one endpoint", {
  commands,
  made: Command.make("batch").pipe(Command.withSubcommands(commands))
})
