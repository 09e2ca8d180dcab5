import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { isInterruption } from "../../../internal/effect/cause.js"
import { wallMillis } from "../../../internal/pace/monotonic.js"
import { defined } from "../../../internal/text/json.js"
import { isOfBatch } from "../../../schemas/Operation.js"
import type { SubmitPlan } from "../../plans.js"
import type { Hang, RateLimited } from "../../Fault.js"
import type { OpenRequest } from "../counters.js"
import type { Applied, ResponseFault } from "../faults.js"
import * as LoadBalancers from "../loadBalancer/exchange.js"
import { largestBody, type Model } from "../jobs/model.js"
import * as Retention from "../jobs/retention.js"
import * as BatchOperations from "./batchOperations.js"
import * as JobOperations from "./jobOperations.js"
import { type Limits, unlimited } from "./limits.js"
import {
  type Answer,
  type Call,
  type HttpRequest,
  type HttpResponse,
  isStreamed,
  type Transmission
} from "./messages.js"
import * as OpenAiRoute from "./openaiRoute.js"
import * as PartialAnswers from "./partialAnswers.js"
import * as Responses from "./responses.js"
import * as Router from "./router.js"

export interface Parts {
  readonly model: Model
  readonly limits: Limits
  /** The only API key that is accepted; without one, any. */
  readonly apiKey: string | undefined
}

/** Handles one request from its arrival to its response. The fiber is interrupted when the client leaves. */
export const handle = (parts: Parts, request: HttpRequest): Effect.Effect<Transmission> =>
  Effect.uninterruptibleMask((restore) => {
    const call = open(parts, request)
    const transmission = process(parts, call)
    // Most requests need no waiting: they are answered without another turn of the fiber.
    if (!Effect.isEffect(transmission)) {
      close(parts, call, transmission)
      return Effect.succeed(transmission)
    }
    return Effect.matchCauseEffect(restore(transmission), {
      onFailure: (cause) => {
        close(parts, call, undefined)
        return Effect.failCause(cause)
      },
      onSuccess: (sent) => Effect.succeed(closeAtEnd(parts, call, sent))
    })
  })

/** A request whose answer streams is over when the stream is, or when nobody is to read it. */
const closeAtEnd = (parts: Parts, call: Call, transmission: Transmission): Transmission => {
  if (transmission._tag !== "Whole" || !isStreamed(transmission.response.body)) {
    close(parts, call, transmission)
    return transmission
  }
  const { close: release, stream } = transmission.response.body
  call.record.status = transmission.response.status
  let hasEnded = false
  const end = (isComplete: boolean) => {
    if (hasEnded) return
    hasEnded = true
    close(parts, call, isComplete ? transmission : undefined)
  }
  const complete = Effect.sync(() => end(true))
  const body = {
    stream: stream.pipe(
      Stream.tapErrorCause((cause) => (isInterruption(cause) ? Effect.void : complete)),
      Stream.concat(Stream.execute(complete)),
      Stream.ensuring(Effect.sync(() => end(false)))
    ),
    close: Effect.zipRight(
      release,
      Effect.sync(() => end(false))
    )
  }
  return { _tag: "Whole", response: { ...transmission.response, body } }
}

const open = ({ model }: Parts, request: HttpRequest): Call => {
  const route = LoadBalancers.routeOf(model, request) ?? Router.parse(request.target, request.method)
  const { batchId, endpointId, jobId, operation, path, wait } = route
  const record: OpenRequest = {
    at: wallMillis(model.clock),
    method: request.method,
    path,
    ...defined({ operation, endpointId, jobId, batchId, wait }),
    abandoned: false
  }
  model.counters.requestArrived(record)
  return { request, route, arrivedAt: model.timer.now(), record, plan: undefined, usage: undefined }
}

const close = ({ model }: Parts, call: Call, transmission: Transmission | undefined): void => {
  const { record, usage } = call
  record.took = model.timer.now() - call.arrivedAt
  if (transmission === undefined) record.abandoned = true
  else if ("response" in transmission) record.status = transmission.response.status
  if (usage !== undefined) usage.inFlight--
  model.counters.requestEnded(record, usage !== undefined)
}

const process = (parts: Parts, call: Call): Transmission | Effect.Effect<Transmission> => {
  const { endpointId, operation } = call.route
  if (operation === undefined || endpointId === undefined) return answer(parts, call, { delay: 0, fault: undefined })
  const plans = parts.model.endpoints.get(endpointId)?.plans
  const applied = () => parts.model.faults.forRequest(operation, endpointId, jobOf(parts, call.route))
  if (plans === undefined || (operation !== "run" && operation !== "runSync")) return answer(parts, call, applied())
  return Effect.flatMap(call.request.readBody(largestBody[operation].bytes), (text) => {
    call.request = { ...call.request, readBody: () => Effect.succeed(text) }
    const input = plans.inputOf(text)
    const { delay, fault } = applied()
    call.plan = fault === undefined && input !== undefined ? plans.take(input) : undefined
    const transmission = answer(parts, call, {
      delay: delay + (call.plan?.delay === undefined ? 0 : Duration.toMillis(call.plan.delay)),
      fault: fault ?? plannedFault(call.plan)
    })
    return Effect.isEffect(transmission) ? transmission : Effect.succeed(transmission)
  })
}

const plannedFault = (plan: SubmitPlan | undefined): ResponseFault | undefined =>
  plan?.fault?._tag === "Delay" ? undefined : plan?.fault

const answer = (parts: Parts, call: Call, { delay, fault }: Applied): Transmission | Effect.Effect<Transmission> => {
  if (fault !== undefined) call.record.fault = fault._tag
  else if (delay > 0) call.record.fault = "Delay"
  const isServed =
    call.plan?.fault === undefined ? fault === undefined || isProcessed(fault) : call.plan.runs !== undefined
  if (!isServed && delay === 0 && fault?._tag === "ResetBefore") return reset
  if (!isServed && delay === 0 && fault?._tag === "Refused") return refused
  const served = isServed ? serve(parts, call) : Responses.emptyOk
  if (fault === undefined && delay === 0) {
    return Effect.isEffect(served) ? Effect.map(served, whole) : whole(served)
  }
  return Effect.gen(function* () {
    const response = Effect.isEffect(served) ? yield* served : served
    const release = isStreamed(response.body) ? response.body.close : Effect.void
    if (delay > 0) yield* Effect.onInterrupt(Effect.sleep(delay), () => release)
    if (fault !== undefined && !goesOut.has(fault._tag)) yield* release
    if (fault?._tag === "Hang") return yield* Effect.never
    return fault === undefined ? whole(response) : applyFault(fault, response, parts.model.clock)
  })
}

const whole = (response: HttpResponse): Transmission => ({ _tag: "Whole", response })

const reset: Transmission = { _tag: "Reset" }
const refused: Transmission = { _tag: "Refused" }

/** Of these the client sees a part of the answer. */
const goesOut: ReadonlySet<ResponseFault["_tag"]> = new Set(["Stall", "CutBody", "Truncated"])

const processed: ReadonlySet<ResponseFault["_tag"]> = new Set([...goesOut, "ResetAfter"])

/** Whether the request gets as far as RunPod itself. */
const isProcessed = (fault: ResponseFault): boolean =>
  processed.has(fault._tag) || ("processed" in fault && fault.processed === true)

const rateLimited = ({ as, retryAfter }: RateLimited, clock: Clock.Clock): HttpResponse => {
  if (retryAfter === undefined) return Responses.rateLimited()
  const seconds = Math.ceil(Duration.toSeconds(retryAfter))
  if (as !== "date") return Responses.rateLimited(String(seconds))
  return Responses.rateLimited(new Date(wallMillis(clock) + seconds * 1000).toUTCString())
}

/** What the client sees of RunPod's response; of a request that was not processed, only the fault decides it. */
const applyFault = (fault: Exclude<ResponseFault, Hang>, response: HttpResponse, clock: Clock.Clock): Transmission => {
  switch (fault._tag) {
    case "RateLimited":
      return whole(rateLimited(fault, clock))
    case "ServerError":
      return whole(Responses.serverError(fault.status ?? 503, fault.body ?? "json"))
    case "HtmlOk":
      return whole(Responses.htmlOk)
    case "EmptyOk":
      return whole(Responses.emptyOk)
    case "NotVisibleYet":
      return whole(Responses.jobNotFound)
    case "Paused":
      return whole(Responses.paused)
    case "Truncated":
    case "Stall":
    case "CutBody":
      return PartialAnswers.partOf(fault, response)
    case "Refused":
      return refused
    case "ResetBefore":
    case "ResetAfter":
      return reset
  }
}

const jobOf = ({ model }: Parts, { endpointId = "", jobId }: Router.Route) => {
  const endpoint = jobId === undefined ? undefined : model.endpoints.get(endpointId)
  const job = endpoint && Retention.find(model, endpoint, jobId ?? "")
  return job && { age: model.timer.now() - job.createdAt, faults: job.faults }
}

/** What RunPod does without faults: key, endpoint, path, method and limits are checked, then the operation is executed. */
const serve = ({ apiKey, limits, model }: Parts, call: Call): Answer => {
  const { endpointId, operation } = call.route
  const refused = refuseKey(apiKey, call.request.authorization)
  if (refused !== undefined) {
    model.counters.counts.unauthorized++
    return refused
  }
  if (endpointId === undefined) return Responses.notFound
  if (operation === "loadBalancer") {
    call.usage = unlimited()
    model.counters.requestEntered(operation)
    return LoadBalancers.serve(model, endpointId, call)
  }
  const endpoint = model.endpoints.get(endpointId)
  if (endpoint === undefined) return LoadBalancers.answerJobOperation(model, endpointId, operation)
  if (operation === undefined) return Responses.notFound
  if (operation !== "openai" && !Router.allows(operation, call.request.method)) return Responses.methodNotAllowed
  call.usage = limits.enter(endpointId, operation, call.arrivedAt)
  if (call.usage === undefined) {
    model.counters.counts.rateLimited++
    return Responses.rateLimited()
  }
  model.counters.requestEntered(operation)
  if (operation === "openai") return OpenAiRoute.answer(model, endpoint, call)
  return isOfBatch(operation)
    ? BatchOperations.execute(model, endpoint, operation, call)
    : JobOperations.execute(model, endpoint, operation, call)
}

export const refuseKey = (apiKey: string | undefined, authorization: string | undefined): HttpResponse | undefined => {
  const token = authorization?.replace(/^bearer(\s+|$)/i, "").trim() ?? ""
  if (token === "") return Responses.noToken
  return apiKey === undefined || token === apiKey ? undefined : Responses.invalidKey
}
