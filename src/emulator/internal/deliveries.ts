import * as Array from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { monotonicMillis, sleepUntil } from "../../internal/pace/monotonic.js"
import type { Deliver } from "../contract.js"
import type { WebhookFault } from "../Fault.js"
import * as Answers from "./answers.js"
import type { Job } from "./engine.js"
import type { Faults } from "./faults.js"
import type { OpenDelivery, Tally } from "./tally.js"

/** When it is tried, in milliseconds from the first try. RunPod documents 10 seconds between tries; these were measured. */
const tries = [0, 5_000, 15_000]
/** How long RunPod waits for an answer is not known. */
const patience = "30 seconds"

/** A webhook that is to be overtaken by so many others. */
interface HeldBack {
  behind: number
  readonly isOvertaken: Deferred.Deferred<void>
}

/** Where the ends of jobs are told to their webhooks. */
export interface Deliveries {
  readonly announce: (job: Job) => void
}

/** What the faults that struck a webhook make of it; times in milliseconds. */
const planOf = (faults: ReadonlyArray<WebhookFault>) => {
  let plan = { isLost: false, delay: 0, behind: 0, within: 0, copies: 1, gap: 0 }
  for (const fault of faults) {
    switch (fault._tag) {
      case "WebhookLost":
        plan = { ...plan, isLost: true }
        break
      case "WebhookLate":
        plan = { ...plan, delay: plan.delay + Duration.toMillis(fault.by) }
        break
      case "WebhookDuplicated":
        plan = { ...plan, copies: fault.copies ?? 2, gap: Duration.toMillis(fault.gap ?? 0) }
        break
      case "WebhookOutOfOrder":
        plan = { ...plan, behind: fault.behind ?? 1, within: Duration.toMillis(fault.within ?? "30 seconds") }
    }
  }
  return plan
}

export const make = (deliver: Deliver, faults: Faults, tally: Tally): Effect.Effect<Deliveries, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const scope = yield* Effect.scope
    const runFork = Runtime.runFork(yield* Effect.runtime())
    const heldBack = new Set<HeldBack>()

    const holdBack = (behind: number, within: number) =>
      Effect.suspend(() => {
        const held: HeldBack = { behind, isOvertaken: Deferred.unsafeMake(FiberId.none) }
        heldBack.add(held)
        return Effect.ensuring(
          Effect.timeoutOption(Deferred.await(held.isOvertaken), within),
          Effect.sync(() => heldBack.delete(held))
        )
      })

    const overtake = Effect.sync(() => {
      for (const held of heldBack) {
        if (--held.behind <= 0) Deferred.unsafeDone(held.isOvertaken, Effect.void)
      }
    })

    const announce = (job: Job) => {
      const { endpoint, submission } = job
      // RunPod tells of success and failure.
      if (submission.webhook === undefined || job.status === "CANCELLED") return
      const url = String(Redacted.value(submission.webhook))
      const struck = faults.strikeWebhook(submission.operation, endpoint.id)
      const { behind, copies, delay, gap, isLost, within } = planOf(struck)
      const body = Answers.webhook(job, url)
      const subject = { endpointId: endpoint.id, jobId: job.id }

      const record = (attempt: number): OpenDelivery => {
        const at = clock.unsafeCurrentTimeMillis()
        const record = { ...subject, at, attempt, faults: struck.map((fault) => fault._tag) }
        tally.delivering(record)
        return record
      }

      /** Whether it was acknowledged. */
      const attempt = (number: number): Effect.Effect<boolean> =>
        Effect.suspend(() => {
          const open = record(number)
          const headers = { "content-type": "application/json", "user-agent": "Go-http-client/2.0" }
          return Effect.suspend(() => deliver({ ...subject, attempt: number, url, headers, body })).pipe(
            Effect.timeout(patience),
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

      const deliverOnce = Effect.gen(function* () {
        const first = monotonicMillis(clock)
        for (const [index, after] of tries.entries()) {
          yield* sleepUntil(first + after)
          if (yield* attempt(index + 1)) return
        }
      })

      const deliverAll = Effect.gen(function* () {
        yield* sleepUntil(monotonicMillis(clock) + delay)
        if (behind > 0) yield* holdBack(behind, within)
        const from = monotonicMillis(clock)
        const copy = (index: number) => Effect.zipRight(sleepUntil(from + index * gap), deliverOnce)
        yield* Effect.forEach(Array.makeBy(copies, copy), (copy) => copy, { concurrency: "unbounded", discard: true })
        yield* overtake
      })

      if (isLost) record(1)
      else runFork(Effect.interruptible(deliverAll), { scope })
    }

    return { announce }
  })
