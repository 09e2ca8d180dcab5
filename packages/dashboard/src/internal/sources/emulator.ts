import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import {
  type DeliveryRecord,
  Fault,
  type JobState,
  type RequestRecord,
  type Service as Emulator
} from "effect-runpod/Emulator"
import type { JobEvent, Job, Options, Source } from "../../Source.js"
import { errorOf } from "../text.js"

/** What can be switched on from the page. */
const switches: Readonly<Record<string, Fault.Fault>> = {
  "429 for submits": Fault.rateLimited({ operations: ["run", "runSync"], rate: 0.5 }),
  "503 for polls": Fault.serverError({ operations: ["status", "statusSync"], rate: 0.5, status: 503 }),
  "connections reset": Fault.resetBefore({ rate: 0.2 }),
  "slow answers": Fault.delay({ by: "2 seconds" }),
  "webhooks lost": Fault.webhookLost({})
}

const jobOf = ({ error, ...job }: JobState): Job => ({
  id: job.id,
  jobId: job.id,
  status: job.status,
  createdAt: job.createdAt,
  startedAt: job.startedAt,
  finishedAt: job.finishedAt,
  delayTime: job.delayTime,
  coldStart: job.coldStart,
  executionTime: job.executionTime,
  workerId: job.workerId,
  retries: job.retries + job.retried,
  error: error === undefined ? undefined : errorOf(error)
})

const hasFailed = ({ status, took }: RequestRecord): boolean =>
  took !== undefined && (status === undefined || status === 429 || status >= 500)

/** The requests about a job: one that comes after another of its operation has failed was sent again. */
const requestsOf = (requests: ReadonlyArray<RequestRecord>): ReadonlyArray<JobEvent> => {
  const failed = new Set<string | undefined>()
  return requests.map((request) => {
    const { at, fault, operation, status, took } = request
    const kind = status === 429 ? "throttled" : failed.has(operation) ? "retry" : "request"
    if (hasFailed(request)) failed.add(operation)
    else failed.delete(operation)
    return { kind, at, took, operation, status, error: fault }
  })
}

const deliveryOf = ({ at, faults, status }: DeliveryRecord): JobEvent => ({
  kind: "webhook",
  at,
  status,
  error: faults.length === 0 ? undefined : faults.join(", ")
})

export const make = (emulator: Emulator, endpointId: string, options: Options = {}): Source => {
  // Those that the program has set stay: only what the page has switched on is replaced.
  const ours = new Set(Object.values(switches))
  const job = (id: string) => emulator.job(endpointId, id)
  return {
    name: options.name ?? endpointId,
    kind: "emulator",
    endpointId,
    cost: options.cost,
    limits: options.limits,
    read: (after) =>
      Effect.gen(function* () {
        const { cursor, isReset, jobs, removed } = yield* emulator.changes(endpointId, { after, limit: Infinity })
        const { rateLimited, faults, total } = yield* emulator.counts
        const active = yield* emulator.faults
        return {
          cursor,
          isReset,
          jobs: jobs.map(jobOf),
          removed,
          health: yield* emulator.health(endpointId),
          requests: { total, throttled: rateLimited + (faults.RateLimited ?? 0) },
          faults: Object.entries(switches).flatMap(([name, fault]) => (active.includes(fault) ? [name] : []))
        }
      }),
    payload: (id) =>
      Effect.map(
        job(id),
        Option.map(({ input, output }) => ({ input, output }))
      ),
    events: (id) =>
      Effect.gen(function* () {
        const isOurs = (one: { readonly endpointId?: string | undefined; readonly jobId?: string | undefined }) =>
          one.endpointId === endpointId && one.jobId === id
        const requests = requestsOf((yield* emulator.requests).filter(isOurs))
        const deliveries = (yield* emulator.deliveries).filter(isOurs).map(deliveryOf)
        return [...requests, ...deliveries].sort((a, b) => a.at - b.at)
      }),
    actions: {
      cancel: (id) =>
        Effect.flatMap(emulator.end(endpointId, id, { status: "CANCELLED" }), (done) =>
          done ? Effect.void : Effect.fail("The job has ended, or is not there any more.")
        ),
      retry: (id) =>
        Effect.flatMap(emulator.retry(endpointId, id), (done) =>
          done ? Effect.void : Effect.fail("Only a job that is FAILED or TIMED_OUT can be retried.")
        ),
      setWorkers: (max) => emulator.setWorkers(endpointId, max),
      faults: switches,
      setFaults: (names) =>
        Effect.flatMap(emulator.faults, (active) =>
          emulator.setFaults([
            ...active.filter((fault) => !ours.has(fault)),
            ...names.flatMap((name) => (Object.hasOwn(switches, name) && switches[name] ? [switches[name]] : []))
          ])
        )
    }
  }
}
