/**
 * What `python handler.py --rp_serve_api` serves, for machines without Python: the local worker API of runpod-python 1.12
 * (`rp_fastapi.py`), with a handler in TypeScript. A program of your own needs none of this.
 */
import { Effect, type Scope } from "effect"
import { randomUUID } from "node:crypto"
import { once } from "node:events"
import * as Http from "node:http"

/** What a handler gets. */
export interface Job {
  readonly id: string
  readonly input: Readonly<Record<string, unknown>>
}

/** A function, or a generator function: the worker tells them apart, as Python does. */
export type Handler = (job: Job) => unknown

export interface LocalWorker {
  readonly url: string
  /** The requests it has had. */
  readonly requests: Array<string>
}

interface Answer {
  readonly status: number
  readonly body: unknown
}

const ok = (body: unknown): Answer => ({ status: 200, body })
const invalid = (type: string, msg: string, loc: ReadonlyArray<unknown>, input: unknown): Answer => ({
  status: 422,
  body: { detail: [{ type, loc, msg, input }] }
})
/** FastAPI's answer where Python has raised. */
const raised: Answer = { status: 500, body: "Internal Server Error" }
const forgotten = (id: string) => ok({ id, status: "FAILED", error: "Job ID not found" })

const isGenerator = (handler: Handler): boolean => /GeneratorFunction$/.test(handler.constructor.name)

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** All that a generator yields; `undefined` when it throws, for which the worker has no answer. */
const collect = async (handler: Handler, job: Job): Promise<ReadonlyArray<unknown> | undefined> => {
  const yielded: Array<unknown> = []
  try {
    for await (const value of handler(job) as AsyncIterable<unknown>) yielded.push(value)
    return yielded
  } catch {
    return undefined
  }
}

/** What `run_job` makes of a handler's value: an `error` in it fails the job, and an empty object is no output. */
const runJob = async (handler: Handler, job: Job): Promise<{ readonly output?: unknown; readonly error?: unknown }> => {
  try {
    const value: unknown = await handler(job)
    if (!isRecord(value)) return { output: value }
    const { error, refresh_worker: _, ...output } = value
    const failure = error === undefined || error === "" ? {} : { error }
    return Object.keys(output).length === 0 ? failure : { output, ...failure }
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    const error = {
      error_type: "<class 'Exception'>",
      error_message: message,
      error_traceback: `Traceback …\n${message}`
    }
    return { error: JSON.stringify({ ...error, hostname: "unknown", worker_id: "unknown", runpod_version: "1.12.0" }) }
  }
}

class Api {
  private readonly jobs = new Map<string, Job>()

  constructor(private readonly handler: Handler) {}

  async answer(method: string, path: string, body: string): Promise<Answer> {
    const [, name = "", id] = path.split("/")
    const takesId = name === "status" || name === "stream"
    if (takesId ? id === undefined : id !== undefined || (name !== "run" && name !== "runsync")) {
      return { status: 404, body: { detail: "Not Found" } }
    }
    if (method !== "POST") return { status: 405, body: { detail: "Method Not Allowed" } }
    if (id !== undefined) return name === "status" ? this.status(id) : this.stream(id)
    return this.submit(name, body)
  }

  private async submit(name: string, body: string): Promise<Answer> {
    let request: unknown
    try {
      request = JSON.parse(body)
    } catch {
      return invalid("json_invalid", "JSON decode error", ["body", 0], {})
    }
    if (!isRecord(request) || !("input" in request)) {
      return invalid("missing", "Field required", ["body", "input"], request)
    }
    const { input } = request
    if (!isRecord(input)) {
      return invalid("dict_type", "Input should be a valid dictionary", ["body", "input"], input)
    }
    const job = { id: `test-${randomUUID()}`, input }
    if (name === "runsync") return this.execute(job)
    this.jobs.set(job.id, job)
    return ok({ id: job.id, status: "IN_PROGRESS" })
  }

  /** The handler runs here, not when the job was submitted. */
  private async status(id: string): Promise<Answer> {
    const job = this.jobs.get(id)
    if (job === undefined) return forgotten(id)
    const answer = await this.execute(job)
    // A generator that raised is not forgotten.
    if (answer !== raised || !isGenerator(this.handler)) this.jobs.delete(id)
    return answer
  }

  private async stream(id: string): Promise<Answer> {
    const job = this.jobs.get(id)
    if (job === undefined) return forgotten(id)
    if (!isGenerator(this.handler)) {
      return ok({ id, status: "FAILED", error: "Stream not supported, handler must be a generator." })
    }
    const yielded = await collect(this.handler, job)
    if (yielded === undefined) return raised
    this.jobs.delete(id)
    return ok({ id, status: "COMPLETED", stream: yielded.map((output) => ({ output })) })
  }

  private async execute(job: Job): Promise<Answer> {
    const { id } = job
    if (isGenerator(this.handler)) {
      const output = await collect(this.handler, job)
      return output === undefined ? raised : ok({ id, status: "COMPLETED", output })
    }
    const result = await runJob(this.handler, job)
    if (result.error !== undefined) return ok({ id, status: "FAILED", error: result.error })
    return "output" in result ? ok({ id, status: "COMPLETED", output: result.output }) : raised
  }
}

const textOf = async (request: AsyncIterable<Uint8Array>): Promise<string> => {
  const chunks: Array<Uint8Array> = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/**
 * Serves a handler until the scope closes. Like Python's event loop under a handler that is no coroutine, it does one thing at a
 * time, unless `isCoroutine` says that handlers let others have their turn.
 */
export const serveLocalWorker = (
  handler: Handler,
  { isCoroutine = false, port = 0 }: { readonly isCoroutine?: boolean; readonly port?: number } = {}
): Effect.Effect<LocalWorker, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const api = new Api(handler)
      const requests: Array<string> = []
      let turn: Promise<unknown> = Promise.resolve()
      const server = Http.createServer((request, response) => {
        const path = (request.url ?? "/").split("?", 1)[0] ?? "/"
        const respond = async () => {
          const body = await textOf(request)
          requests.push(`${request.method} ${request.url}`)
          const { body: answer, status } = await api.answer(request.method ?? "GET", path, body)
          const isText = typeof answer === "string"
          response.writeHead(status, { "content-type": isText ? "text/plain; charset=utf-8" : "application/json" })
          response.end(isText ? answer : JSON.stringify(answer))
        }
        if (isCoroutine) void respond()
        else turn = turn.then(respond)
      })
      server.listen(port, "127.0.0.1")
      await once(server, "listening")
      const address = server.address()
      const bound = typeof address === "object" && address !== null ? address.port : port
      return { server, worker: { url: `http://127.0.0.1:${bound}`, requests } }
    }),
    ({ server }) =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  ).pipe(Effect.map(({ worker }) => worker))
