import { defined } from "../../../internal/text/json.js"
import { type Endpoint, type Job, largestBody, type Model, type SubmitOperation } from "../jobs/model.js"
import * as Retention from "../jobs/retention.js"
import * as Workers from "../jobs/workers.js"
import type { HttpResponse } from "./messages.js"

const json = "application/json"

export const okText = (body: string): HttpResponse => ({ status: 200, contentType: json, body })

export const ok = (body: object): HttpResponse => okText(JSON.stringify(body))

const empty = (status: number): HttpResponse => ({ status, contentType: undefined, body: "" })

const html = (status: number, title: string): HttpResponse => ({
  status,
  contentType: "text/html; charset=UTF-8",
  body: `<!DOCTYPE html>\n<html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>\n`
})

const titles: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  524: "A timeout occurred"
}

const titleOf = (status: number): string => titles[status] ?? "Error"

/** An error as RunPod describes it. */
export const problem = (status: number, detail?: string, code?: string): HttpResponse => ({
  status,
  contentType: json,
  body: JSON.stringify({ status, title: titleOf(status), ...defined({ detail, code }) })
})

export const badRequest = (detail: string): HttpResponse => problem(400, detail)
export const refused = (problem: string): HttpResponse => badRequest(`bad request: ${problem}`)
export const tooLarge = (operation: SubmitOperation): HttpResponse =>
  refused(`body: exceeded max body size of ${largestBody[operation].says}`)
export const noToken = problem(401, "no token provided")
export const invalidKey = problem(401, "invalid api key")
export const notFound = problem(404)
export const notForLoadBalancers = badRequest("not allowed for QB API")
export const notForQueues = badRequest("not allowed for LB API")
export const endpointNotFound = problem(404, "endpoint not found")
export const jobNotFound = problem(404, "job not found")
export const batchNotFound = problem(404, "batch not found")
export const requestNotFound = problem(404, "request not found")
export const noContent = empty(204)
export const methodNotAllowed = problem(405)
export const paused = problem(
  409,
  "Endpoint is paused (max_workers=0). Set max_workers > 0 to accept work.",
  "ENDPOINT_PAUSED"
)

export const rateLimited = (retryAfter?: string): HttpResponse => ({ ...empty(429), retryAfter })
export const htmlOk = html(200, "Just a moment...")
export const emptyOk = empty(200)

/** What the gateway says when nothing came in time. */
export const gatewayTimeout = html(524, "524: A timeout occurred")

export const serverError = (status: number, body: "json" | "html" | "text" | "empty"): HttpResponse => {
  switch (body) {
    case "json":
      return problem(status)
    case "html":
      return html(status, `${status} ${titleOf(status)}`)
    case "text":
      return { status, contentType: "text/plain; charset=UTF-8", body: `error code: ${status}` }
    case "empty":
      return empty(status)
  }
}

export const accepted = (job: Job): HttpResponse => okText(`{"id":"${job.id}","status":"IN_QUEUE"}`)

/** A job, its keys in the order RunPod sends them; given a webhook's URL, its body: the input echoed, the worker not named. */
export const envelope = (job: Job, webhook?: string): string => {
  let text = "{"
  if (job.delayTime !== undefined) text += `"delayTime":${job.delayTime},`
  if (job.error !== undefined) text += `"error":${job.error},`
  if (job.executionTime !== undefined) text += `"executionTime":${job.executionTime},`
  text += `"id":"${job.id}",`
  if (webhook !== undefined) text += `"input":${JSON.stringify(job.submission.input)},`
  if (job.output !== undefined) text += `"output":${job.output},`
  if (job.retries > 0) text += `"retries":${job.retries},`
  text += `"status":"${job.status}"`
  if (webhook !== undefined) return `${text},"webhook":${JSON.stringify(webhook)}}`
  return `${text}${job.workerId === undefined ? "" : `,"workerId":"${job.workerId}"`}}`
}

export const job = (job: Job): HttpResponse => okText(envelope(job))

/** What the OpenAI route says of a job's output; of none, nothing. */
export const outputOf = (output: string | undefined): HttpResponse => (output === undefined ? emptyOk : okText(output))

/** What it says of a job that did not complete: its error, or its status where it has none. */
export const jobFailed = (job: Job): HttpResponse => {
  const reason: unknown = job.error === undefined ? undefined : JSON.parse(job.error)
  return problem(500, typeof reason === "string" ? reason : (job.error ?? `the job is ${job.status}`))
}

export const chunks = (job: Job, taken: ReadonlyArray<string>): HttpResponse =>
  okText(`{"status":"${job.status}","stream":[${taken.map((chunk) => `{"output":${chunk}}`).join(",")}]}`)

export const purged = (removed: number): HttpResponse => okText(`{"removed":${removed},"status":"completed"}`)

export const health = (model: Model, endpoint: Endpoint): HttpResponse => ok(Workers.gauges(model, endpoint))

export const requests = (model: Model, endpoint: Endpoint): HttpResponse => {
  const list = Retention.list(model, endpoint).map((job) => ({
    id: job.id,
    status: job.status,
    delayTime: job.delayTime ?? (job.status === "IN_QUEUE" ? Math.round(model.timer.now() - job.createdAt) : 0),
    ...defined({ executionTime: job.executionTime }),
    workerId: job.workerId ?? ""
  }))
  return ok({ requests: list.length === 0 ? null : list })
}
