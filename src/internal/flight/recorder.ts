import * as Duration from "effect/Duration"
import { fromResponse } from "../../errors/RunPodError.js"
import type * as FlightRecorder from "../../layers/FlightRecorder.js"
import * as FlightRecord from "../../schemas/FlightRecord.js"
import { readRetryAfter } from "../http/meaning.js"
import { defined, isJsonObject, type JsonObject, numberOf, textOf } from "../text/json.js"
import { idIn } from "../text/reply.js"
import { find as tokenIn } from "../webhooks/token.js"
import { hashOf, type Mode, Values } from "./values.js"

/** What a recorder is made of. Times are milliseconds of the monotonic clock, `wallMillis` of the wall clock. */
export interface Setup {
  readonly mode: Mode
  readonly keys: ReadonlyArray<string>
  readonly write: (record: FlightRecord.FlightRecord) => void
  readonly now: () => number
  readonly wallMillis: () => number
}

type Scrub = (text: string) => string

/** Gives what is of one kind numbers in the order of its appearance. */
class Numbering {
  private readonly known = new Map<string, string>()

  constructor(private readonly prefix: string) {}

  of(id: string): string {
    let number = this.known.get(id)
    if (number === undefined) this.known.set(id, (number = `${this.prefix}${this.known.size + 1}`))
    return number
  }

  find(id: string): string | undefined {
    return this.known.get(id)
  }
}

/** The operations whose answer is about one job. */
const ofJobs = new Set(["run", "runSync", "status", "statusSync", "stream", "cancel", "retry"])

const statuses: ReadonlyArray<string> = FlightRecord.JobReading.fields.status.literals

const isStatus = (status: unknown): status is FlightRecord.JobReading["status"] =>
  typeof status === "string" && statuses.includes(status)

const decoder = new TextDecoder()

const parse = (text: string): { readonly json: unknown } | undefined => {
  try {
    return { json: JSON.parse(text) }
  } catch {
    return undefined
  }
}

const bodyKind = (text: string, isJson: boolean) => {
  if (isJson) return "Json"
  const start = text.trimStart()[0]
  if (start === undefined) return "Empty"
  if (start === "<") return "Html"
  return start === "{" || start === "[" ? "Cut" : "Text"
}

interface Begun extends Pick<FlightRecorder.Attempt, "request" | "scrub"> {
  readonly endpoint: string | undefined
  readonly order: number
}

/** Makes records of what it is told. Plain state, touched only synchronously. */
export class Recorder implements FlightRecorder.Service {
  private readonly start: number
  private readonly values: Values
  private readonly endpoints = new Numbering("e")
  private readonly jobs = new Numbering("j")
  private readonly workers = new Numbering("w")
  private readonly webhooks = new Numbering("h")
  /** By endpoint. */
  private readonly inputs = new Map<string, Numbering>()
  private sent = 0

  constructor(private readonly setup: Setup) {
    this.start = setup.now()
    this.values = new Values(setup.mode, setup.keys)
    setup.write({ _tag: "Start", mode: setup.mode })
  }

  readonly onAttempt: FlightRecorder.Service["onAttempt"] = ({ attempt, queuedAt, request, scrub, sentAt }) => {
    const { operation, params } = request
    const endpoint = this.endpointOf(params["endpointId"])
    const order = ++this.sent
    const begun = {
      _tag: "Attempt" as const,
      order,
      operation: operation.name,
      attempt,
      queued: this.at(queuedAt),
      sent: this.at(sentAt),
      ...defined({ endpoint, held: (request.hold ?? operation.hold) === undefined ? undefined : true }),
      ...defined({ submit: this.submitOf(request, endpoint, scrub) })
    }
    return (end, endedAt) => {
      const { job, reading } = this.endOf(end, { request, endpoint, order, scrub })
      this.setup.write({ ...begun, ...defined({ job }), ended: this.at(endedAt), end: reading })
    }
  }

  readonly onDelivery = ({ received, url }: FlightRecorder.Delivery): void => {
    const token = tokenIn(url)
    const delivery = {
      _tag: "Delivery" as const,
      at: this.at(this.setup.now()),
      ...defined({ webhook: token === undefined ? undefined : this.webhooks.find(token) })
    }
    if ("error" in received) return this.setup.write({ ...delivery, error: received.error })
    const { duplicate, endpointId, job } = received
    const endpoint = this.endpointOf(endpointId)
    const reading = this.readJob({ ...job }, (text) => text)
    this.setup.write({
      ...delivery,
      ...defined({ endpoint, reading }),
      job: this.jobOf(endpoint, job.id),
      duplicate
    } satisfies FlightRecord.Delivery)
  }

  private at(time: number): number {
    return Math.max(0, Math.round(time - this.start))
  }

  private endpointOf(id: string | undefined): string | undefined {
    return id === undefined ? undefined : this.endpoints.of(id)
  }

  private jobOf(endpoint: string | undefined, id: string): string {
    return this.jobs.of(`${endpoint} ${id}`)
  }

  private submitOf(
    { body, operation }: FlightRecorder.Attempt["request"],
    endpoint = "",
    scrub: Scrub
  ): FlightRecord.Attempt["submit"] {
    if (body === undefined || (operation.name !== "run" && operation.name !== "runSync")) return undefined
    const json = parse(decoder.decode(body))?.json
    if (!isJsonObject(json)) return undefined
    let inputs = this.inputs.get(endpoint)
    if (inputs === undefined) this.inputs.set(endpoint, (inputs = new Numbering("i")))
    const token = tokenIn(textOf(json["webhook"]) ?? "")
    return {
      // The digest stays in memory.
      input: inputs.of(hashOf(json["input"])),
      value: this.values.read(json["input"], scrub),
      ...defined({ webhook: token === undefined ? undefined : this.webhooks.of(token) })
    }
  }

  private endOf(
    end: FlightRecorder.End,
    { endpoint, order, request, scrub }: Begun
  ): { readonly job?: string | undefined; readonly reading: FlightRecord.Attempt["end"] } {
    const { operation, params } = request
    const asked = params["jobId"] === undefined ? undefined : this.jobOf(endpoint, params["jobId"])
    if (end._tag === "GivenUp") return { job: asked, reading: end }
    if (end._tag === "NoAnswer") {
      const { error } = end
      const sent = "sent" in error ? error.sent : "Maybe"
      const phase = error._tag === "RequestTimeoutError" ? error.phase : undefined
      return { job: asked, reading: { _tag: "NoAnswer", error: error._tag, sent, ...defined({ phase }) } }
    }
    const { status, text } = end
    const parsed = parse(text)
    const isSuccess = status >= 200 && status < 300
    const asks = readRetryAfter(end.retryAfter, this.setup.wallMillis())
    const answer = {
      _tag: "Answer" as const,
      status,
      body: bodyKind(text, parsed !== undefined),
      ...defined({ retryAfter: asks === undefined ? undefined : Duration.toMillis(asks) })
    } as const
    if (!isSuccess) {
      const where = { operation: operation.name, method: operation.method, path: operation.path, ...params }
      return { job: asked, reading: { ...answer, error: fromResponse(where, { status, text })._tag } }
    }
    const json = parsed?.json
    if (!ofJobs.has(operation.name) || !isJsonObject(json)) return { job: asked, reading: answer }
    const reading = this.readJob(json, scrub)
    // `/runsync` sometimes answers without an id: the job is one of its own.
    const id = idIn(json) ?? (reading === undefined ? undefined : `of attempt ${order}`)
    const job = asked ?? (id === undefined ? undefined : this.jobOf(endpoint, id))
    return { job, reading: { ...answer, ...defined({ job: reading, chunks: this.readChunks(json, scrub) }) } }
  }

  private readJob(json: JsonObject, scrub: Scrub): FlightRecord.JobReading | undefined {
    const { error, id, output, status } = json
    // The answer to a submit may leave the status out.
    if (typeof status !== "string" && id === undefined) return undefined
    const worker = textOf(json["workerId"])
    const read = (value: unknown) =>
      value === undefined || value === null ? undefined : this.values.read(value, scrub)
    return {
      status: isStatus(status) ? status : status === undefined ? "IN_QUEUE" : "OTHER",
      ...defined({
        delayTime: numberOf(json["delayTime"]),
        executionTime: numberOf(json["executionTime"]),
        worker: worker === undefined ? undefined : this.workers.of(worker),
        output: output === undefined ? undefined : this.values.read(output, scrub),
        error: read(error)
      })
    }
  }

  private readChunks({ stream }: JsonObject, scrub: Scrub): FlightRecord.Answer["chunks"] {
    if (!Array.isArray(stream) || stream.length === 0) return undefined
    return stream.flatMap((chunk: unknown) =>
      isJsonObject(chunk) && chunk["output"] !== undefined ? [this.values.read(chunk["output"], scrub)] : []
    )
  }
}
