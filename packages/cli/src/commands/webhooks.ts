import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { argument, duration, endpoint, optional, port, shared, text } from "./options.js"
import { group, lazily, verb } from "./verb.js"

const secret = verb(
  "Print a new secret for RUNPOD_WEBHOOK_SECRET, which tokens are signed with",
  Command.make("secret", shared, () =>
    lazily(
      () => import("../handlers/webhooks.js"),
      ({ secret }) => secret
    )
  )
)

const issue = verb(
  "Print a URL for the webhook of one job, signed with RUNPOD_WEBHOOK_SECRET",
  Command.make(
    "issue",
    {
      endpoint,
      key: argument("key", "What the program calls the job, readable in the URL"),
      url: text("url", "url", "Where the receiver can be reached from outside"),
      expiresIn: optional(duration("expires-in", "How long it is good for; 25 hours unless it is given")),
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/webhooks.js"),
        ({ issue }) => issue(args)
      )
  )
)

const verify = verb(
  "Check the token of a URL that was called, by RUNPOD_WEBHOOK_SECRET",
  Command.make(
    "verify",
    {
      url: argument("url", "The URL that was called, with its query"),
      body: optional(text("body", "json", "The delivery: JSON, @file, or - for stdin")),
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/webhooks.js"),
        ({ verify }) => verify(args)
      )
  )
)

const listen = verb(
  "Receive deliveries on this machine, and print those with a valid token",
  Command.make(
    "listen",
    {
      port,
      host: Options.withDescription(Options.withDefault(Options.text("host"), "127.0.0.1"), "On which address"),
      path: Options.withDescription(Options.withDefault(Options.text("path"), "/"), "The only path that is served"),
      forward: optional(text("forward", "url", "Post each job that was delivered there, too, as JSON")),
      ...shared
    },
    (args) =>
      lazily(
        () => import("../handlers/webhooks.js"),
        ({ listen }) => listen(args)
      )
  )
)

export const webhooks = group("webhooks", "What RunPod posts when jobs end").pipe(
  Command.withSubcommands([secret, issue, verify, listen])
)
