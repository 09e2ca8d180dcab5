import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Array from "effect/Array"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Redacted from "effect/Redacted"
import { statusOf } from "../../errors/WebhookError.js"
import { monotonicMillis, sleepUntil, wallMillis } from "../../internal/pace/monotonic.js"
import type { Service } from "../../services/Webhooks.js"
import type { Deliver } from "../contract.js"
import type { WebhookFault } from "../Fault.js"
import type { Counters, OpenDelivery } from "./counters.js"
import type { Faults } from "./faults.js"
import * as Responses from "./http/responses.js"
import type { Job } from "./jobs/model.js"

/** When it is tried, in milliseconds from the first try. RunPod documents 10 seconds between tries; these were measured. */
const tries = [0, 5_000, 15_000]
/** How long RunPod waits for an answer is not known. */
const answerTimeout = "30 seconds"
const headers = { "content-type": "application/json", "user-agent": "Go-http-client/2.0" }

/** A webhook that waits until so many others have been delivered. */
interface HeldBack {
  behind: number
  readonly release: () => void
}

interface Webhook {
  readonly endpointId: string
  readonly jobId: string
  readonly url: string
  readonly body: string
  readonly faults: ReadonlyArray<WebhookFault>
}

/** What the faults make of a delivery; times in milliseconds. */
const planOf = (faults: ReadonlyArray<WebhookFault>) => {
  const plan = { isLost: false, delay: 0, behind: 0, within: 0, copies: 1, gap: 0 }
  for (const fault of faults) {
    switch (fault._tag) {
      case "WebhookLost":
        plan.isLost = true
        break
      case "WebhookLate":
        plan.delay += Duration.toMillis(fault.by)
        break
      case "WebhookDuplicated":
        plan.copies = fault.copies ?? 2
        plan.gap = Duration.toMillis(fault.gap ?? 0)
        break
      case "WebhookOutOfOrder":
        plan.behind = fault.behind ?? 1
        plan.within = Duration.toMillis(fault.within ?? "30 seconds")
    }
  }
  return plan
}

interface State {
  readonly deliver: Deliver
  readonly counters: Counters
  readonly clock: Clock.Clock
  readonly heldBack: Set<HeldBack>
}

const record = ({ clock, counters }: State, { endpointId, faults, jobId }: Webhook, attempt: number): OpenDelivery => {
  const tags = faults.map((fault) => fault._tag)
  const record: OpenDelivery = { endpointId, jobId, at: wallMillis(clock), attempt, faults: tags }
  counters.deliveries.add(record)
  return record
}

/** One try; whether it was acknowledged. */
const attempt = (state: State, webhook: Webhook, number: number): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    const open = record(state, webhook, number)
    const { body, endpointId, jobId, url } = webhook
    return Effect.suspend(() => state.deliver({ endpointId, jobId, attempt: number, url, headers, body })).pipe(
      Effect.timeout(answerTimeout),
      // Whatever goes wrong on the way or at the receiver, RunPod sees no 2xx.
      Effect.matchCause({
        onFailure: () => false,
        onSuccess: (status) => {
          open.status = status
          return status >= 200 && status < 300
        }
      })
    )
  })

const sendCopy = Effect.fnUntraced(function* (state: State, webhook: Webhook) {
  const first = monotonicMillis(state.clock)
  for (const [index, after] of tries.entries()) {
    yield* sleepUntil(first + after)
    if (yield* attempt(state, webhook, index + 1)) return
  }
})

/** Waits until `behind` other webhooks have been delivered, `within` milliseconds at most. */
const holdBack = ({ heldBack }: State, behind: number, within: number): Effect.Effect<unknown> =>
  Effect.async<void>((resume) => {
    const held: HeldBack = { behind, release: () => resume(Effect.void) }
    heldBack.add(held)
    return Effect.sync(() => heldBack.delete(held))
  }).pipe(Effect.timeoutOption(within))

const overtake = ({ heldBack }: State): void => {
  for (const held of heldBack) {
    if (--held.behind > 0) continue
    heldBack.delete(held)
    held.release()
  }
}

const send = Effect.fnUntraced(function* (state: State, webhook: Webhook, plan: ReturnType<typeof planOf>) {
  const { behind, copies, delay, gap, within } = plan
  yield* sleepUntil(monotonicMillis(state.clock) + delay)
  if (behind > 0) yield* holdBack(state, behind, within)
  const start = monotonicMillis(state.clock)
  const copy = (index: number) => Effect.zipRight(sleepUntil(start + index * gap), sendCopy(state, webhook))
  yield* Effect.all(Array.makeBy(copies, copy), { concurrency: "unbounded", discard: true })
  overtake(state)
})

export const overHttp =
  (client: HttpClient.HttpClient): Deliver =>
  ({ body, headers, url }) =>
    HttpClientRequest.post(url, { headers }).pipe(
      HttpClientRequest.bodyText(body, "application/json"),
      client.execute,
      // To its end, so that the connection can be used again.
      Effect.tap((response) => response.text),
      Effect.map((response) => response.status),
      Effect.withTracerEnabled(false)
    )

export const toReceiver =
  (webhooks: Service): Deliver =>
  (delivery) =>
    Effect.match(webhooks.receive(delivery), { onFailure: statusOf, onSuccess: () => 200 })

/** Delivers the webhook of a job that has ended. Closing the scope interrupts the deliveries under way. */
export const make = Effect.fnUntraced(function* (deliver: Deliver, faults: Faults, counters: Counters) {
  const fork = yield* FiberSet.makeRuntime()
  const state: State = { deliver, counters, clock: yield* Effect.clock, heldBack: new Set() }
  return (job: Job): void => {
    const { endpoint, submission } = job
    // RunPod sends none for a cancelled job.
    if (submission.webhook === undefined || job.status === "CANCELLED") return
    const url = String(Redacted.value(submission.webhook))
    const applied = faults.forWebhook(submission.operation, endpoint.id)
    const body = Responses.envelope(job, url)
    const webhook: Webhook = { endpointId: endpoint.id, jobId: job.id, url, body, faults: applied }
    const plan = planOf(applied)
    if (plan.isLost) record(state, webhook, 1)
    else fork(Effect.interruptible(send(state, webhook, plan)))
  }
})
