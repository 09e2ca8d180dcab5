import { submitEnd } from "../../../internal/flight/outcomes.js"
import { defined } from "../../../internal/text/json.js"
import type { Attempt } from "../../../schemas/FlightRecord.js"
import type { Recording } from "../../../services/Flight.js"
import type { Options } from "../../contract.js"
import type { FlightOptions, SubmitPlan } from "../../plans.js"
import { faultOf, faultsOf, faultsOfEndpoint, faultsOfJob, latenessOf, metFault } from "./faults.js"
import { standIn } from "./standIn.js"
import { Timelines } from "./timelines.js"

/** The jobs of submits without an answer that a webhook told of, by the webhook. */
const jobsByWebhook = ({ deliveries }: Recording): ReadonlyMap<string, string> =>
  new Map(
    deliveries.flatMap(({ job, webhook }) => (job === undefined || webhook === undefined ? [] : [[webhook, job]]))
  )

/** Answers that came in part, or not in time: whoever wrote them has started a job. */
const startedSomething = ({ end }: Attempt): boolean =>
  end._tag === "Answer" ? end.body === "Cut" && end.status < 300 : end._tag === "NoAnswer" && end.phase === "Body"

interface World {
  readonly isByHash: boolean
  readonly timelines: Timelines
  /** The jobs that webhooks tell of, by the webhook. */
  readonly byWebhook: ReadonlyMap<string, string>
  /** Attempts that met a fault of their own: see `faultsOf`. */
  readonly alone: ReadonlySet<Attempt>
  /** Those of them that are about a job, by the job. */
  readonly aloneByJob: ReadonlyMap<string | undefined, ReadonlyArray<Attempt>>
}

/** What becomes of the submits of an endpoint. */
const submitsOf = (attempts: ReadonlyArray<Attempt>, world: World): ReadonlyArray<SubmitPlan> => {
  const { alone, aloneByJob, byWebhook, isByHash, timelines } = world
  const submits = attempts.filter(({ submit }) => submit !== undefined)
  const planned = new Set(submits.flatMap(({ job }) => job ?? []))

  const jobPlan = (job: string, { sent }: Attempt) => {
    const faults = faultsOfJob(aloneByJob.get(job) ?? [])
    return { ...timelines.planOf(job, sent), ...(faults.length === 0 ? {} : { faults }) }
  }

  const planOf = (attempt: Attempt, submit: NonNullable<Attempt["submit"]>): SubmitPlan | undefined => {
    const end = submitEnd(attempt)
    const hash = "hash" in submit.value ? submit.value.hash : undefined
    const input = isByHash && hash !== undefined ? hash : Number(submit.input.slice(1)) - 1
    const delay = latenessOf(attempt)
    const at = { input, ...defined({ delay: delay === 0 ? undefined : delay }) }
    if (end._tag === "Accepted") return { ...at, ...jobPlan(end.job, attempt) }
    if (metFault(attempt)) return alone.has(attempt) ? { ...at, fault: faultOf(attempt) } : undefined
    const job = byWebhook.get(submit.webhook ?? "")
    if (end._tag === "Ambiguous" && job !== undefined && !planned.has(job)) {
      planned.add(job)
      return { ...at, fault: faultOf(attempt), ...jobPlan(job, attempt) }
    }
    return { ...at, fault: faultOf(attempt), ...(startedSomething(attempt) ? { runs: [{}] } : {}) }
  }

  return submits.flatMap((attempt) => (attempt.submit === undefined ? [] : (planOf(attempt, attempt.submit) ?? [])))
}

/** How many workers a recording names. */
const workersOf = (attempts: ReadonlyArray<Attempt>): number =>
  new Set(
    attempts.flatMap(({ end }) => (end._tag === "Answer" && end.job?.worker !== undefined ? [end.job.worker] : []))
  ).size

const groupBy = <A, K>(list: ReadonlyArray<A>, keyOf: (entry: A) => K): ReadonlyMap<K, ReadonlyArray<A>> => {
  const groups = new Map<K, Array<A>>()
  for (const entry of list) {
    const key = keyOf(entry)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [entry])
    else group.push(entry)
  }
  return groups
}

/** The world that a recording was made in, as options of an emulator. */
export const compile = (
  recording: Recording,
  { endpoints: ids = [], inputs = "ByHash", output }: FlightOptions
): Options => {
  const timelines = new Timelines(recording, (job, value) => {
    const given = standIn(value)
    return output === undefined ? given : output({ job, value, standIn: given })
  })
  const isByHash = inputs === "ByHash" && recording.mode === "hash"
  const byWebhook = jobsByWebhook(recording)
  const withEndpoint = recording.attempts.filter(({ endpoint }) => endpoint !== undefined)
  const byEndpoint = Array.from(groupBy(withEndpoint, ({ endpoint }) => endpoint))
  const compiled = byEndpoint.map(([name = "", attempts]) => {
    const id = ids[Number(name.slice(1)) - 1] ?? name
    const met = Array.from(groupBy(attempts, ({ operation }) => operation).values(), (of) => faultsOf(of, id))
    const alone = met.flatMap((met) => met.alone)
    const ofJobs = groupBy(
      alone.filter(({ submit }) => submit === undefined),
      ({ job }) => job
    )
    const world = { isByHash, timelines, byWebhook, alone: new Set(alone), aloneByJob: ofJobs }
    const endpoint = { workers: Math.max(1, workersOf(attempts)), submits: submitsOf(attempts, world) }
    const faults = [...met.flatMap((met) => met.faults), ...faultsOfEndpoint(ofJobs.get(undefined) ?? [], id)]
    return { id, endpoint, faults }
  })
  return {
    endpoints: Object.fromEntries(compiled.map(({ endpoint, id }) => [id, endpoint])),
    faults: compiled.flatMap(({ faults }) => faults)
  }
}
