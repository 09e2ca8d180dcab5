import {
  access,
  argument,
  argumentList,
  choice,
  count,
  duration,
  endpoint,
  fileArgument,
  flag,
  job,
  optional,
  optionalArgument,
  policyDuration,
  positiveDuration,
  recorded,
  shared,
  text
} from "./options.js"
import { define, group, lazily, verb } from "./verb.js"
import * as Command from "@effect/cli/Command"

const submits = {
  webhook: optional(text("webhook", "url", "Where RunPod posts the job when it ends")),
  ttl: optional(policyDuration("ttl", "How long RunPod keeps the job from its submit on", 10)),
  executionTimeout: optional(policyDuration("execution-timeout", "How long it may be on a worker", 5)),
  lowPriority: flag("low-priority", "Let it wait while others need the workers")
}

const timeout = optional(positiveDuration("timeout", "How long to wait; then the status is 7, and the job goes on"))

export const run = verb(
  "Submit a job and wait for its output",
  define(
    "run",
    {
      endpoint,
      input: argument("input", "The input: JSON, @file, or - for stdin"),
      detach: flag("detach", "Do not wait: print the id of the job"),
      cancelOnStop: flag("cancel-on-stop", "Cancel the job when a signal or --timeout ends the wait"),
      timeout,
      ...submits,
      ...recorded,
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/run.js"),
        ({ run }) => run(args)
      )
  )
)

export const status = verb(
  "Show a job",
  define("status", { endpoint, job, ...access, ...shared }, (args) =>
    lazily(
      () => import("../handlers/job.js"),
      ({ status }) => status(args)
    )
  )
)

export const cancel = verb(
  "Cancel a job, queued or running",
  define("cancel", { endpoint, job, ...access, ...shared }, (args) =>
    lazily(
      () => import("../handlers/job.js"),
      ({ cancel }) => cancel(args)
    )
  )
)

export const retry = verb(
  "Put a job that FAILED or TIMED_OUT back in the queue",
  define("retry", { endpoint, job, ...access, ...shared }, (args) =>
    lazily(
      () => import("../handlers/job.js"),
      ({ retry }) => retry(args)
    )
  )
)

export const watch = verb(
  "Follow a job until it has ended",
  define("watch", { endpoint, job, timeout, ...access, ...shared }, (args) =>
    lazily(
      () => import("../handlers/job.js"),
      ({ watch }) => watch(args)
    )
  )
)

export const stream = verb(
  "Print what a job streams, as it comes",
  define("stream", { endpoint, job, timeout, ...access, ...shared }, (args) =>
    lazily(
      () => import("../handlers/job.js"),
      ({ stream }) => stream(args)
    )
  )
)

export const health = verb(
  "Show the workers and the queue of an endpoint",
  define(
    "health",
    {
      endpoint,
      watch: flag("watch", "Again and again, until a signal"),
      interval: optional(positiveDuration("interval", "How often with --watch; 5 seconds unless it is given")),
      diagnose: flag("diagnose", "Say why jobs wait in the queue, and what to do"),
      ...access,
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/health.js"),
        ({ health }) => health(args)
      )
  )
)

export const purge = verb(
  "Remove all queued jobs of an endpoint; those that run go on",
  define("purge", { endpoint, yes: flag("yes", "Needed: the jobs cannot be had back"), ...access, ...shared }, (args) =>
    lazily(
      () => import("../handlers/health.js"),
      ({ purge }) => purge(args)
    )
  )
)

const journals = argumentList(fileArgument("journal", "Journals of batches whose jobs are known"))

const statuses = ["IN_QUEUE", "IN_PROGRESS", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"] as const

const list = verb(
  "Show the recent jobs of an endpoint",
  define(
    "list",
    {
      endpoint,
      status: optional(choice("status", statuses, "Only those with this status")),
      ...access,
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/jobs.js"),
        ({ list }) => list(args)
      )
  )
)

const orphans = verb(
  "Show the jobs that run or are queued, and that no process with one of the journals waits for",
  define("orphans", { endpoint, journals, ...access, ...shared }, (args) =>
    lazily(
      () => import("../handlers/jobs.js"),
      ({ orphans }) => orphans(args)
    )
  )
)

const sweep = verb(
  "Cancel the orphans that are in none of the journals, whoever has submitted them",
  define(
    "sweep",
    {
      endpoint,
      journals,
      minAge: optional(duration("min-age", "Only those that have run for so long")),
      concurrency: optional(count("concurrency", "How many are cancelled at once; 10 unless it is given")),
      yes: flag("yes", "Needed: the jobs may be those of another program"),
      ...access,
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/jobs.js"),
        ({ sweep }) => sweep(args)
      )
  )
)

const commands = [list, orphans, sweep] as const

export const jobs = group("jobs", "The jobs of an endpoint", {
  commands,
  made: Command.make("jobs").pipe(Command.withSubcommands(commands))
})

export const doctor = verb(
  "Check key, network, clock and an endpoint, and say what to do",
  define(
    "doctor",
    { endpoint: optionalArgument(argument("endpoint", "The id of an endpoint to look at")), ...access, ...shared },
    (args) =>
      lazily(
        () => import("../handlers/doctor.js"),
        ({ doctor }) => doctor(args)
      )
  )
)
