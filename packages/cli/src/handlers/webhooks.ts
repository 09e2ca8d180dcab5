import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Job from "effect-runpod/Job"
import { NodeRunPod, NodeWebhooks } from "effect-runpod/Node"
import * as Webhooks from "effect-runpod/Webhooks"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { randomBytes } from "node:crypto"
import process from "node:process"
import { excerptOf, UsageError } from "../shell/errors.js"
import { literalOf } from "../shell/input.js"
import { Output, toJson } from "../shell/output.js"
import { Progress, say } from "../shell/progress.js"
import { describe } from "./job.js"

export const secret = Effect.gen(function* () {
  const output = yield* Output
  const made = randomBytes(32).toString("base64url")
  yield* output.one({ secret: made }, made)
})

/** What tokens are signed with: from the environment, as the API key is. */
const secretOf = Effect.suspend(() => {
  const found = process.env["RUNPOD_WEBHOOK_SECRET"] ?? ""
  if (found !== "") return Effect.succeed(found)
  return new UsageError({
    message:
      "RUNPOD_WEBHOOK_SECRET is not set: set it to the secret of the program that issues the URLs (webhooks secret makes one)."
  })
})

/** The receiver, at a URL. */
const receiver = (url: string) => Layer.unwrapEffect(Effect.map(secretOf, (secret) => Webhooks.layer({ secret, url })))

interface IssueArgs {
  readonly endpoint: string
  readonly key: string
  readonly url: string
  readonly expiresIn: Duration.Duration | undefined
}

export const issue = Effect.fnUntraced(
  function* ({ endpoint, expiresIn, key }: IssueArgs) {
    const output = yield* Output
    const webhooks = yield* Webhooks.Webhooks
    const url = String(yield* webhooks.issue({ endpointId: endpoint, key, expiresIn }))
    yield* output.one({ url }, url)
  },
  (effect, { url }) => Effect.provide(effect, receiver(url))
)

interface VerifyArgs {
  readonly url: string
  readonly body: string | undefined
}

/** A URL without its query, or with the origin that it lacks. */
const baseOf = (url: string): Effect.Effect<string, UsageError> => {
  const base = "http://localhost"
  if (!URL.canParse(url, base)) {
    return new UsageError({ message: "The URL cannot be read: give it as it was called, with its query, in quotes." })
  }
  const { origin, pathname } = new URL(url, base)
  return Effect.succeed(origin + pathname)
}

export const verify = Effect.fnUntraced(
  function* ({ body, url }: VerifyArgs) {
    const output = yield* Output
    const webhooks = yield* Webhooks.Webhooks
    if (body === undefined) {
      yield* webhooks.verify({ url })
      return yield* output.one({ valid: true }, "valid")
    }
    const { endpointId, job, key } = yield* webhooks.receive({ url, body: yield* literalOf(body) })
    yield* output.one(
      { valid: true, endpointId, key, job: Job.toBody(job) },
      `valid: ${key} on ${endpointId}\n${describe(job)}`
    )
  },
  (effect, { url }) => Effect.flatMap(baseOf(url), (base) => Effect.provide(effect, receiver(base)))
)

interface ListenArgs {
  readonly port: number
  readonly host: string
  readonly path: string
  readonly forward: string | undefined
}

/** Posts a job that was delivered. RunPod has its answer already: what is lost here is said, and not delivered again. */
const post = (url: string, delivery: unknown) =>
  Effect.gen(function* () {
    const client = yield* HttpClient.HttpClient
    const request = HttpClientRequest.post(url).pipe(HttpClientRequest.bodyText(toJson(delivery), "application/json"))
    const { status } = yield* Effect.scoped(client.execute(request))
    if (status >= 300) say(`warning: ${url} answered ${status}, and is not asked again`)
  }).pipe(Effect.catchAll(({ message }) => Effect.sync(() => say(`warning: not forwarded: ${message}`))))

export const listen = Effect.fnUntraced(
  function* ({ forward, host, path, port }: ListenArgs) {
    if (!path.startsWith("/")) return yield* new UsageError({ message: "--path begins with a slash, such as /hook." })
    if (forward !== undefined && !/^https?:\/\/[^/]/.test(forward)) {
      return yield* new UsageError({ message: "--forward takes a URL, such as http://localhost:3000/jobs." })
    }
    const output = yield* Output
    const { update } = yield* Progress
    const webhooks = yield* Webhooks.Webhooks
    const { url } = yield* Effect.mapError(NodeWebhooks.serve({ host, path, port }), (error) => {
      const why = error.cause instanceof Error ? error.cause.message : error.message
      const advice = "Give another --port, or 0 for any free one."
      return new UsageError({ message: `Nothing can listen on ${host}, port ${port}: ${excerptOf(why)}. ${advice}` })
    })
    yield* update(`Listening on ${url}`, { type: "listening", url }, true)
    const received = Stream.map(webhooks.eventsSince(0), ({ endpointId, input, job, key, receivedAt }) => ({
      text: `${key} ${describe(job)}\n`,
      data: { endpointId, key, receivedAt, job: Job.toBody(job) },
      body: { ...Job.toBody(job), input }
    })).pipe(Stream.tap(({ body }) => (forward === undefined ? Effect.void : post(forward, body))))
    yield* output.each(
      received,
      ({ data }) => data,
      ({ text }) => text
    )
  },
  Effect.scoped,
  (effect) => Effect.provide(effect, Layer.merge(receiver("http://localhost/"), NodeRunPod.layerHttpClient()))
)
