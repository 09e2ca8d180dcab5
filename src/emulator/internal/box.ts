import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Timer from "../../internal/pace/timer.js"
import * as RateLimits from "../../layers/RateLimits.js"
import { type BatchOperation, isOfBatch, names, type Operation, operations } from "../../schemas/Operation.js"
import type { Deliver, Options, Service } from "../contract.js"
import type { RequestFault } from "../Fault.js"
import * as Answers from "./answers.js"
import type { Answer } from "./answers.js"
import * as BatchRoutes from "./batchRoutes.js"
import * as Batches from "./batches.js"
import * as Deliveries from "./deliveries.js"
import * as Engine from "./engine.js"
import * as Faults from "./faults.js"
import * as Limits from "./limits.js"
import * as Submission from "./submission.js"
import { type OpenRecord, Tally } from "./tally.js"

/** A request, whichever way it came. */
export interface Incoming {
  readonly method: string
  /** The path with the query, as it stands in the request line. */
  readonly target: string
  readonly authorization: string | undefined
  /** The text of the body; `undefined` when it is longer than `limit` bytes. */
  readonly readBody: (limit: number) => Effect.Effect<string | undefined>
}

/** What becomes of a request. */
export type Outcome =
  | { readonly _tag: "Whole"; readonly answer: Answer }
  /** The connection is reset without an answer. */
  | { readonly _tag: "Reset" }
  /** So many bytes of the body, then nothing more. */
  | { readonly _tag: "Stall"; readonly answer: Answer; readonly bytes: number }
  /** So many bytes of the body, then the connection closes. */
  | { readonly _tag: "Cut"; readonly answer: Answer; readonly bytes: number }

/** An emulator without a face. */
export interface Box {
  readonly handle: (incoming: Incoming) => Effect.Effect<Outcome>
  readonly service: Service
}

interface Route {
  readonly path: string
  readonly query: string
  readonly operation: Operation | undefined
  readonly endpointId: string | undefined
  readonly jobId: string | undefined
  readonly batch: BatchRoutes.BatchIds
}

const byPath = new Map<string, Operation>(
  names.flatMap((name) => (isOfBatch(name) ? [] : [[operations[name].path.split("/")[0] ?? "", name] as const]))
)

const decode = (segment: string | undefined): string | undefined => {
  if (segment?.includes("%") !== true) return segment
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

/**
 * Reads `/{endpointId}/{operation}` or `/{endpointId}/{operation}/{jobId}`, with or without `/v2` before it; the method tells
 * operations of the batch API apart.
 */
export const parseTarget = (target: string, method: string): Route => {
  const mark = target.indexOf("?")
  const path = mark < 0 ? target : target.slice(0, mark)
  const query = mark < 0 ? "" : target.slice(mark + 1)
  const segments = path.split("/")
  segments.splice(0, segments[1] === "v2" ? 2 : 1)
  if (segments.at(-1) === "") segments.pop()
  const [endpointId, name, jobId, ...rest] = segments
  if (name === "batch") {
    const { operation, ...batch } = BatchRoutes.parse(segments.slice(1), method, decode) ?? { operation: undefined }
    return { path, query, operation, endpointId: decode(endpointId), jobId: undefined, batch }
  }
  const operation = name === undefined ? undefined : byPath.get(name)
  const isWhole =
    operation !== undefined &&
    rest.length === 0 &&
    operations[operation].path.includes("{jobId}") === (decode(jobId) !== undefined)
  return {
    path,
    query,
    operation: isWhole ? operation : undefined,
    endpointId: decode(endpointId),
    jobId: isWhole ? decode(jobId) : undefined,
    batch: {}
  }
}

const waitOf = (query: string): string | undefined =>
  query === "" ? undefined : (new URLSearchParams(query).get("wait") ?? undefined)

/** Reads may be sent as POST as well. */
const allows = (operation: Operation, method: string): boolean =>
  method === operations[operation].method ||
  (method === "POST" && (operation === "status" || operation === "statusSync" || operation === "stream"))

const defaultHold = { runSync: 90_000, statusSync: 90_000, stream: 10_000 }

const whole = (answer: Answer): Outcome => ({ _tag: "Whole", answer })
const reset: Outcome = { _tag: "Reset" }

const halfOf = (answer: Answer): number => Math.floor(new TextEncoder().encode(answer.body).byteLength / 2)

/** `deliver` is how webhooks are delivered when the options do not say it. */
export const make = (options: Options, deliver: Deliver): Effect.Effect<Box, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Effect.clock
    const timer = yield* Timer.make
    const seed = options.seed ?? 0
    const tally = new Tally()
    const faults = Faults.make(options.faults ?? [], seed, tally)
    const deliveries = yield* Deliveries.make(options.deliver ?? deliver, faults, tally)
    const engine = yield* Engine.make(options, timer, tally, seed, deliveries.announce)
    const limits = Limits.make(options.limits ?? { operations: RateLimits.table })
    const apiKey = Redacted.isRedacted(options.apiKey) ? Redacted.value(options.apiKey) : options.apiKey

    const batches = Batches.make(
      engine,
      seed,
      () => clock.unsafeCurrentTimeMillis(),
      (endpoint, order) => ({ ...order, operation: "run", ...faults.strikeJob("run", endpoint.id) })
    )
    const operateBatch = BatchRoutes.make(batches, engine)

    // --- the operations -------------------------------------------------------------------------------------------

    const submit = (
      operation: "run" | "runSync",
      endpoint: Engine.Endpoint,
      incoming: Incoming,
      record: OpenRecord
    ): Effect.Effect<Answer> => {
      const { bytes, says } = Submission.largestBody[operation]
      return Effect.flatMap(incoming.readBody(bytes), (text) => {
        if (text === undefined) {
          return Effect.succeed(Answers.badRequest(`bad request: body: exceeded max body size of ${says}`))
        }
        const submission = Submission.read(text)
        if (Either.isLeft(submission)) return Effect.succeed(Answers.badRequest(submission.left))
        const wait = Submission.readWait(record.wait, defaultHold.runSync)
        if (operation === "runSync" && Either.isLeft(wait)) return Effect.succeed(Answers.badRequest(wait.left))
        if (endpoint.maxWorkers <= 0) return Effect.succeed(Answers.paused)
        const job = engine.submit(endpoint, {
          ...submission.right,
          operation,
          ...faults.strikeJob(operation, endpoint.id)
        })
        record.jobId = job.id
        if (operation === "run") return Effect.succeed(Answers.accepted(job))
        return Effect.map(
          engine.awaitEnd(
            job,
            Either.getOrElse(wait, () => 0)
          ),
          () => tell(job)
        )
      })
    }

    /** The job as it is now; it may be gone by the end of a hold. */
    const tell = (job: Engine.Job): Answer =>
      engine.find(job.endpoint, job.id) === undefined ? Answers.jobNotFound : Answers.job(job)

    const drain = (job: Engine.Job): Answer => {
      if (engine.find(job.endpoint, job.id) === undefined) return Answers.jobNotFound
      const taken = job.chunks
      job.chunks = []
      return Answers.chunks(job, taken)
    }

    const held = (
      operation: "statusSync" | "stream",
      job: Engine.Job,
      record: OpenRecord
    ): Answer | Effect.Effect<Answer> => {
      const wait = Submission.readWait(record.wait, defaultHold[operation])
      if (Either.isLeft(wait)) return Answers.badRequest(wait.left)
      return operation === "stream"
        ? Effect.map(engine.awaitChunk(job, wait.right), () => drain(job))
        : Effect.map(engine.awaitEnd(job, wait.right), () => tell(job))
    }

    const operate = (
      operation: Exclude<Operation, BatchOperation>,
      endpoint: Engine.Endpoint,
      incoming: Incoming,
      record: OpenRecord
    ): Answer | Effect.Effect<Answer> => {
      if (operation === "run" || operation === "runSync") return submit(operation, endpoint, incoming, record)
      if (operation === "health") return Answers.health(endpoint, engine)
      if (operation === "requests") return Answers.requests(endpoint, engine)
      if (operation === "purgeQueue") return Answers.purged(engine.purge(endpoint))
      const job = record.jobId === undefined ? undefined : engine.find(endpoint, record.jobId)
      if (job === undefined) return Answers.jobNotFound
      switch (operation) {
        case "status":
          return Answers.job(job)
        case "statusSync":
        case "stream":
          return held(operation, job, record)
        case "cancel":
          engine.cancel(job)
          return Answers.job(job)
        case "retry":
          return engine.retry(job)
            ? Answers.accepted(job)
            : Answers.badRequest(`bad request: a job that is ${job.status} cannot be retried`)
      }
    }

    // --- what stands before them ----------------------------------------------------------------------------------

    const refusal = (authorization: string | undefined): Answer | undefined => {
      const token = authorization?.replace(/^bearer(\s+|$)/i, "").trim() ?? ""
      if (token === "") return Answers.noToken
      return apiKey === undefined || token === apiKey ? undefined : Answers.invalidKey
    }

    interface Open {
      readonly record: OpenRecord
      readonly arrived: number
      isInFlight: boolean
    }

    const serve = (incoming: Incoming, route: Route, open: Open): Answer | Effect.Effect<Answer> => {
      const refused = refusal(incoming.authorization)
      if (refused !== undefined) {
        tally.wasUnauthorized()
        return refused
      }
      const { endpointId, operation } = route
      if (endpointId === undefined) return Answers.notFound
      const endpoint = engine.endpoint(endpointId)
      if (endpoint === undefined) return Answers.endpointNotFound
      if (operation === undefined) return Answers.notFound
      if (!allows(operation, incoming.method)) return Answers.methodNotAllowed
      if (!limits.enter(endpointId, operation, open.arrived)) {
        tally.wasRateLimited()
        return Answers.rateLimited()
      }
      open.isInFlight = true
      tally.entered(operation)
      return isOfBatch(operation)
        ? operateBatch(operation, endpoint, incoming, route.batch, route.query)
        : operate(operation, endpoint, incoming, open.record)
    }

    const ageOf = (route: Route): number | undefined => {
      if (route.endpointId === undefined || route.jobId === undefined) return undefined
      const endpoint = engine.endpoint(route.endpointId)
      const job = endpoint === undefined ? undefined : engine.find(endpoint, route.jobId)
      return job === undefined ? undefined : engine.ageOf(job)
    }

    /** What a fault answers by itself, instead of RunPod. */
    const replacement = (fault: RequestFault): Answer | undefined => {
      switch (fault._tag) {
        case "RateLimited": {
          if (fault.retryAfter === undefined) return Answers.rateLimited()
          const seconds = Math.ceil(Duration.toSeconds(fault.retryAfter))
          return Answers.rateLimited(
            fault.as === "date"
              ? new Date(clock.unsafeCurrentTimeMillis() + seconds * 1000).toUTCString()
              : String(seconds)
          )
        }
        case "ServerError":
          return Answers.serverError(fault.status ?? 503, fault.body ?? "json")
        case "HtmlOk":
          return Answers.htmlOk
        case "EmptyOk":
          return Answers.emptyOk
        case "NotVisibleYet":
          return Answers.jobNotFound
        case "Paused":
          return Answers.paused
        default:
          return undefined
      }
    }

    const distort = (fault: RequestFault | undefined, answer: Answer): Outcome | Effect.Effect<Outcome> => {
      switch (fault?._tag) {
        case "ResetAfter":
          return reset
        case "Stall":
          return { _tag: "Stall", answer, bytes: fault.afterBytes ?? halfOf(answer) }
        case "CutBody":
          return { _tag: "Cut", answer, bytes: halfOf(answer) }
        case "Truncated":
          return whole({ ...answer, body: answer.body.slice(0, answer.body.length >> 1) })
        case "Hang":
          return Effect.never
        default:
          return whole((fault === undefined ? undefined : replacement(fault)) ?? answer)
      }
    }

    /** Whether the request gets as far as RunPod itself. */
    const isProcessed = (fault: RequestFault | undefined): boolean => {
      switch (fault?._tag) {
        case "ServerError":
        case "HtmlOk":
        case "EmptyOk":
        case "Hang":
          return fault.processed === true
        case "ResetBefore":
        case "RateLimited":
        case "NotVisibleYet":
        case "Paused":
          return false
        default:
          return true
      }
    }

    const process = (incoming: Incoming, route: Route, open: Open): Outcome | Effect.Effect<Outcome> => {
      const { endpointId, operation } = route
      const { delay, fault } =
        operation === undefined || endpointId === undefined
          ? { delay: 0, fault: undefined }
          : faults.strikeRequest({ operation, endpointId, jobAge: () => ageOf(route) })
      if (fault !== undefined) open.record.fault = fault._tag
      else if (delay > 0) open.record.fault = "Delay"
      if (fault?._tag === "ResetBefore") return reset
      const answer = isProcessed(fault) ? serve(incoming, route, open) : Answers.emptyOk
      if (fault === undefined && delay === 0) return Effect.isEffect(answer) ? Effect.map(answer, whole) : whole(answer)
      const late = delay === 0 ? Effect.void : Effect.sleep(delay)
      return (Effect.isEffect(answer) ? answer : Effect.succeed(answer)).pipe(
        Effect.zipLeft(late),
        Effect.flatMap((answer) => {
          const outcome = distort(fault, answer)
          return Effect.isEffect(outcome) ? outcome : Effect.succeed(outcome)
        })
      )
    }

    const handle = (incoming: Incoming): Effect.Effect<Outcome> =>
      Effect.uninterruptibleMask((restore) => {
        const route = parseTarget(incoming.target, incoming.method)
        const arrived = timer.now()
        const record: OpenRecord = {
          at: clock.unsafeCurrentTimeMillis(),
          method: incoming.method,
          path: route.path,
          abandoned: false
        }
        if (route.operation !== undefined) record.operation = route.operation
        if (route.endpointId !== undefined) record.endpointId = route.endpointId
        if (route.jobId !== undefined) record.jobId = route.jobId
        if (route.batch.batchId !== undefined) record.batchId = route.batch.batchId
        const wait = waitOf(route.query)
        if (wait !== undefined) record.wait = wait
        const open: Open = { record, arrived, isInFlight: false }
        const close = (outcome: Outcome | undefined) => {
          record.took = timer.now() - arrived
          if (outcome === undefined) record.abandoned = true
          else if (outcome._tag !== "Reset") record.status = outcome.answer.status
          if (open.isInFlight && route.operation !== undefined && route.endpointId !== undefined) {
            limits.leave(route.endpointId, route.operation)
            tally.exited(route.operation)
          }
          tally.left(record)
        }
        tally.arrived(record)
        const outcome = process(incoming, route, open)
        if (!Effect.isEffect(outcome)) {
          close(outcome)
          return Effect.succeed(outcome)
        }
        return Effect.onExit(restore(outcome), (exit) =>
          Effect.sync(() => close(Exit.isSuccess(exit) ? exit.value : undefined))
        )
      })

    // --- the control ----------------------------------------------------------------------------------------------

    const withEndpoint = <A>(endpointId: string, f: (endpoint: Engine.Endpoint) => A): Effect.Effect<A> =>
      Effect.suspend(() => {
        const endpoint = engine.endpoint(endpointId)
        return endpoint === undefined
          ? Effect.dieMessage(`the emulator has no endpoint "${endpointId}"`)
          : Effect.sync(() => f(endpoint))
      })

    const service: Service = {
      jobs: (endpointId) => withEndpoint(endpointId, (endpoint) => engine.jobs(endpoint).map(engine.snapshot)),
      job: (endpointId, jobId) =>
        withEndpoint(endpointId, (endpoint) =>
          Option.map(Option.fromNullable(engine.find(endpoint, jobId)), engine.snapshot)
        ),
      requests: Effect.sync(() => tally.requests()),
      deliveries: Effect.sync(() => tally.deliveries()),
      counts: Effect.sync(() => tally.counts()),
      resetCounts: Effect.sync(() => tally.reset()),
      faults: Effect.sync(faults.get),
      setFaults: (next) => Effect.sync(() => faults.set(next)),
      setWorkers: (endpointId, workers) => withEndpoint(endpointId, (endpoint) => engine.setWorkers(endpoint, workers)),
      end: (endpointId, jobId, end) =>
        withEndpoint(endpointId, (endpoint) => {
          const job = engine.find(endpoint, jobId)
          return job !== undefined && engine.end(job, end)
        }),
      batches: (endpointId) =>
        withEndpoint(endpointId, (endpoint) => batches.list(endpoint).toReversed().map(batches.snapshot)),
      failBatch: (endpointId, batchId) =>
        withEndpoint(endpointId, (endpoint) => {
          const batch = batches.find(endpoint, batchId)
          if (batch !== undefined) batches.fail(batch)
          return batch !== undefined
        })
    }

    return { handle, service }
  })
