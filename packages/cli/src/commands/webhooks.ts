import * as Command from "@effect/cli/Command"
import { argument, endpoint, json, optional, port, positiveDuration, shared, text, withDefault } from "./options.js"
import { define, group, lazily, verb } from "./verb.js"

const secret = verb(
  "Print a new secret for RUNPOD_WEBHOOK_SECRET, which tokens are signed with",
  define("secret", shared, () =>
    lazily(
      () => import("../handlers/webhooks.js"),
      ({ secret }) => secret
    )
  )
)

const issue = verb(
  "Print a URL for the webhook of one job, signed with RUNPOD_WEBHOOK_SECRET",
  define(
    "issue",
    {
      endpoint,
      key: argument("key", "What the program calls the job, readable in the URL"),
      url: text("url", "url", "Where the receiver can be reached from outside"),
      expiresIn: optional(positiveDuration("expires-in", "How long it is good for; 25 hours unless it is given")),
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
  define(
    "verify",
    {
      url: argument("url", "The URL that was called, with its query"),
      body: optional(json("body", "The delivery: JSON, @file, or - for stdin")),
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
  define(
    "listen",
    {
      port,
      host: withDefault(text("host", "address", "On which address"), "127.0.0.1"),
      path: withDefault(text("path", "path", "The only path that is served"), "/"),
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

const commands = [secret, issue, verify, listen] as const

export const webhooks = group("webhooks", "What RunPod posts when jobs end", {
  commands,
  made: Command.make("webhooks").pipe(Command.withSubcommands(commands))
})
