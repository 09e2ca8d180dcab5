import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { EmulatedOperation } from "../../contract.js"
import { type Answer, type Call, type HttpRequest, type HttpResponse, isStreamed } from "../http/messages.js"
import * as Responses from "../http/responses.js"
import * as Router from "../http/router.js"
import type { Worker } from "../jobs/fleet.js"
import type { Model } from "../jobs/model.js"
import * as App from "./app.js"
import type { Cut, Exchange, LoadBalancer } from "./model.js"
import * as Routing from "./routing.js"

/** RunPod's limit on bodies, each way. */
const largestBody = 30_000_000

/** An answer that takes longer breaks off, in milliseconds. */
const longestProcessing = 330_000

const tooLarge = Responses.refused("body: exceeded max body size of 30MB")

/** Where a request to a load-balancing endpoint goes; `undefined` for any other. */
export const routeOf = ({ loadBalancers }: Model, request: HttpRequest): Router.Route | undefined => {
  const isCandidate = request.target.startsWith("/lb/") || request.host?.includes(".api.") === true
  if (!isCandidate) return undefined
  return Router.parseLoadBalancer(request, (id) =>
    loadBalancers.has(id) ? id : [...loadBalancers.keys()].find((key) => key.toLowerCase() === id.toLowerCase())
  )
}

/** What the job API says of an id that is no queue endpoint's. */
export const answerJobOperation = (
  model: Model,
  id: string,
  operation: EmulatedOperation | undefined
): HttpResponse => {
  const balancer = model.loadBalancers.get(id)
  if (balancer === undefined) return Responses.endpointNotFound
  return operation === "health" ? health(model, balancer) : Responses.notForLoadBalancers
}

/** No jobs, and the workers; `ready` are those that get requests. */
const health = (model: Model, balancer: LoadBalancer): HttpResponse => {
  const { workers } = Routing.snapshot(model, balancer)
  const count = (status: (typeof workers)[number]["status"]) =>
    workers.filter((worker) => worker.status === status).length
  const running = workers.filter(({ requests }) => requests > 0).length
  const { throttled, unhealthy } = balancer
  return Responses.ok({
    jobs: { completed: 0, failed: 0, inProgress: 0, inQueue: 0, retried: 0 },
    workers: {
      idle: workers.filter(({ requests, status }) => status === "healthy" && requests === 0).length,
      initializing: count("initializing"),
      ready: count("healthy"),
      running,
      throttled,
      unhealthy: unhealthy + count("unhealthy")
    }
  })
}

/** Answers with the app of a worker, as soon as there is one. */
export const serve = (model: Model, id: string, call: Call): Answer => {
  const balancer = model.loadBalancers.get(id)
  if (balancer === undefined) return model.endpoints.has(id) ? Responses.notForQueues : Responses.endpointNotFound
  return Effect.gen(function* () {
    const body = yield* call.request.readBytes(largestBody)
    if (body === undefined) return tooLarge
    const cut = yield* Deferred.make<never, Cut>()
    const scope = yield* Scope.make()
    return yield* exchange({ model, balancer, call, body, cut, scope })
  })
}

interface Parts {
  readonly model: Model
  readonly balancer: LoadBalancer
  readonly call: Call
  readonly body: Uint8Array
  /** Fails to break the answer off. */
  readonly cut: Deferred.Deferred<never, Cut>
  /** What the app has acquired for this request. */
  readonly scope: Scope.CloseableScope
}

/** From the wait for a worker until its answer has gone out: then, however it ends, the worker has room again. */
const exchange = (parts: Parts): Effect.Effect<HttpResponse> => {
  const { balancer, call, cut, model, scope } = parts
  const header = call.request.headers["x-runpod-worker-id"]
  const affinity = Routing.parseAffinity(typeof header === "string" ? header : header?.[0])
  let current: Exchange | undefined
  const close = Effect.suspend(() => {
    if (current !== undefined) Routing.leave(model, balancer, current)
    current = undefined
    return Scope.close(scope, Exit.void)
  })
  const enter = Effect.async<Worker | HttpResponse>((resume) => {
    current = {
      affinity,
      resume: (end) => resume(Effect.succeed(end)),
      alarm: undefined,
      worker: undefined,
      cut
    }
    Routing.enter(model, balancer, current)
  })
  const answer = Effect.flatMap(enter, (end) =>
    Routing.isWorker(end) ? answerOn({ ...parts, worker: end, exchange: () => current }) : Effect.succeed(end)
  )
  return Effect.uninterruptibleMask((restore) =>
    Effect.matchCauseEffect(restore(answer), {
      onFailure: (cause) => Effect.zipRight(close, Effect.failCause(cause)),
      onSuccess: (response) =>
        isStreamed(response.body)
          ? Effect.succeed({ ...response, body: held(response.body.stream, cut, close) })
          : Effect.as(close, response)
    })
  )
}

/** The body of an answer that occupies its worker until it has gone out, or breaks off. */
const held = (stream: Stream.Stream<Uint8Array, unknown>, cut: Parts["cut"], close: Effect.Effect<void>) => ({
  stream: Stream.ensuring(Stream.interruptWhenDeferred(limited(stream), cut), close),
  close
})

/** Fails where a body grows too large. */
const limited = (stream: Stream.Stream<Uint8Array, unknown>): Stream.Stream<Uint8Array, unknown> =>
  Stream.mapAccumEffect(stream, 0, (size, piece) => {
    const next = size + piece.byteLength
    return next > largestBody ? Effect.fail("exceeded max body size of 30MB") : Effect.succeed([next, piece] as const)
  })

interface OnWorker extends Parts {
  readonly worker: Worker
  readonly exchange: () => Exchange | undefined
}

const answerOn = ({
  balancer,
  body,
  call,
  cut,
  exchange,
  model,
  scope,
  worker
}: OnWorker): Effect.Effect<HttpResponse> =>
  Effect.suspend(() => {
    call.record.workerId = worker.id
    const current = exchange()
    if (current !== undefined) {
      const breakOff = () => Deferred.unsafeDone(cut, Effect.fail("timeout"))
      current.alarm = model.timer.set(model.timer.now() + longestProcessing, breakOff)
    }
    const request = { request: call.request, below: call.route.below, body, scope }
    const answered = App.run(() => balancer.appOf(worker), request)
    return Effect.raceFirst(answered, Deferred.await(cut)).pipe(
      Effect.map((response): HttpResponse => {
        const headers = { ...response.headers, "x-runpod-worker-id": worker.id }
        return { ...response, headers, body: withinLimit(response.body) }
      }),
      Effect.catchAll((reason) =>
        Effect.succeed(reason === "timeout" ? Responses.gatewayTimeout : Responses.serverError(502, "json"))
      )
    )
  })

/** What is too large is cut off in the middle, as a stream is. */
const withinLimit = (body: HttpResponse["body"]): HttpResponse["body"] =>
  body instanceof Uint8Array && body.byteLength > largestBody
    ? { stream: Stream.make(body.subarray(0, largestBody), body.subarray(largestBody)), close: Effect.void }
    : body
