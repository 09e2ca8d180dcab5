/**
 * A worker that asks for jobs and reports them as RunPod's SDK for Python does, with its environment. Its handler does what the input
 * says; as a `generator` it yields the `chunks` of its input. The second argument is how many jobs it runs at once.
 */
import * as Timers from "node:timers/promises"

interface Job {
  readonly id: string
  readonly input: {
    readonly n?: number
    readonly millis?: number
    readonly fail?: string
    readonly progress?: ReadonlyArray<unknown>
    readonly chunks?: ReadonlyArray<unknown>
  }
}

const [kind = "handler", concurrency = "1"] = process.argv.slice(2)
const variable = (name: string): string => {
  const value = process.env[name]
  if (value === undefined) throw new Error(`there is no ${name}`)
  return value
}
const workerId = variable("RUNPOD_POD_ID")
const headers = { authorization: variable("RUNPOD_AI_API_KEY"), "user-agent": "RunPod-Python-SDK" }
const takeUrl = variable("RUNPOD_WEBHOOK_GET_JOB").replace("$ID", workerId)
const urlOf = (name: string) => variable(name).replace("$RUNPOD_POD_ID", workerId)

const running = new Map<string, AbortController>()

const postTo = async (url: string, job: Job, body: object, isStream: boolean) => {
  const response = await fetch(`${url.replace("$ID", job.id)}&isStream=${isStream}`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/x-www-form-urlencoded", "x-request-id": job.id },
    body: JSON.stringify(body)
  })
  await response.text()
  if (!response.ok) console.error(`a report of ${job.id} was answered with ${response.status}`)
}
const postOutput = (job: Job, body: object, isStream = false) =>
  postTo(urlOf("RUNPOD_WEBHOOK_POST_OUTPUT"), job, body, isStream)

const generate = async (job: Job, signal: AbortSignal) => {
  const output: Array<unknown> = []
  for (const chunk of job.input.chunks ?? []) {
    await Timers.setTimeout(job.input.millis ?? 0, undefined, { signal })
    await postTo(urlOf("RUNPOD_WEBHOOK_POST_STREAM"), job, { output: chunk }, false)
    output.push(chunk)
  }
  await postOutput(job, { output }, true)
}

const perform = async (job: Job, signal: AbortSignal) => {
  const { fail, millis = 0, n, progress = [] } = job.input
  for (const output of progress) {
    await postOutput(job, { status: "IN_PROGRESS", output })
    await Timers.setTimeout(millis, undefined, { signal })
  }
  if (progress.length === 0) await Timers.setTimeout(millis, undefined, { signal })
  if (fail === undefined) return postOutput(job, { output: { n, workerId } })
  const report = { error_type: "<class 'ValueError'>", error_message: fail, error_traceback: "", worker_id: workerId }
  return postOutput(job, { error: JSON.stringify(report) })
}

const run = async (job: Job) => {
  const abort = new AbortController()
  running.set(job.id, abort)
  try {
    await (kind === "generator" ? generate : perform)(job, abort.signal)
  } catch {
    console.log(abort.signal.aborted ? `stopped ${job.id}` : `failed ${job.id}`)
  }
  running.delete(job.id)
}

/** Asks for as many jobs as there is room for. */
const takeJobs = async () => {
  const room = Number(concurrency) - running.size
  if (room <= 0) return Timers.setTimeout(20)
  const url = room > 1 ? `${takeUrl.replace("/job-take/", "/job-take-batch/")}&batch_size=${room}` : takeUrl
  const response = await fetch(`${url}&job_in_progress=${running.size > 0 ? 1 : 0}`, { headers })
  const text = await response.text()
  if (response.status === 204) return
  if (!response.ok) throw new Error(`a request for jobs was answered with ${response.status}`)
  const taken: Job | ReadonlyArray<Job> = JSON.parse(text)
  for (const job of Array.isArray(taken) ? taken : [taken]) void run(job)
}

const awaitStops = async () => {
  const response = await fetch(takeUrl.replace("/job-take/", "/job-stop/"), { headers })
  const text = await response.text()
  if (response.status !== 200) return
  const { jobsToStop }: { jobsToStop: ReadonlyArray<string> } = JSON.parse(text)
  for (const id of jobsToStop) running.get(id)?.abort()
}

const ping = async () => {
  const names = running.size > 0 ? `&job_id=${[...running.keys()].join("%2C")}` : ""
  const response = await fetch(`${urlOf("RUNPOD_WEBHOOK_PING")}${names}&runpod_version=1.12.0`, { headers })
  await response.text()
  await Timers.setTimeout(Number(variable("RUNPOD_PING_INTERVAL")))
}

const forEver = async (step: () => Promise<void>): Promise<never> => {
  for (;;) await step()
}
// A server that is gone ends the worker.
await Promise.all([takeJobs, awaitStops, ping].map(forEver)).catch(() => process.exit(1))
