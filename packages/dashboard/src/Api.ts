/**
 * The JSON of a dashboard: an `HttpApi`, whose OpenAPI document is at `/api/openapi.json`. Looking needs no token; inputs, outputs and
 * actions need the one of the dashboard as a bearer token.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as Schema from "effect/Schema"

const text = Schema.optional(Schema.String)
const number = Schema.optional(Schema.Number)
const counts = Schema.Record({ key: Schema.String, value: Schema.Number })

/**
 * There is no such source or job.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotFound extends Schema.TaggedError<NotFound>("effect-runpod-dashboard/NotFound")(
  "NotFound",
  { message: Schema.String },
  HttpApiSchema.annotations({ status: 404 })
) {}

/**
 * The token is missing or wrong.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unauthorized extends Schema.TaggedError<Unauthorized>("effect-runpod-dashboard/Unauthorized")(
  "Unauthorized",
  { message: Schema.String },
  HttpApiSchema.annotations({ status: 401 })
) {}

/**
 * An action was not done.
 *
 * @since 0.1.0
 * @category errors
 */
export class ActionFailed extends Schema.TaggedError<ActionFailed>("effect-runpod-dashboard/ActionFailed")(
  "ActionFailed",
  { message: Schema.String },
  HttpApiSchema.annotations({ status: 409 })
) {}

/**
 * Compares the token of a request, in constant time.
 *
 * @since 0.1.0
 * @category tags
 */
export class Authorization extends HttpApiMiddleware.Tag<Authorization>()("effect-runpod-dashboard/Authorization", {
  failure: Unauthorized,
  security: { token: HttpApiSecurity.bearer }
}) {}

/**
 * A source, and what can be done with it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SourceInfo = Schema.Struct({
  name: Schema.String,
  kind: Schema.Literal("emulator", "endpoint", "process", "journal"),
  endpointId: text,
  resume: text,
  actions: Schema.Array(Schema.Literal("cancel", "retry", "setWorkers", "setFaults", "payload")),
  /** The names of faults that can be switched. */
  faults: Schema.Array(Schema.String)
})

/**
 * How much of a limit was used in its last window, by this process. Times are milliseconds. `share` is the mean wait as a share of the window.
 *
 * @since 0.1.0
 * @category schemas
 */
export const LimitUse = Schema.Struct({
  operation: Schema.String,
  /** Missing where there is none. */
  limit: number,
  window: Schema.Number,
  /** Requests that were let through in the window. */
  sent: Schema.Number,
  /** How long each of them had waited, on the average. */
  meanWait: Schema.Number,
  share: Schema.Number
})

/**
 * @since 0.1.0
 * @category models
 */
export interface LimitUse extends Schema.Schema.Type<typeof LimitUse> {}

/**
 * A source as it was at one moment. Times are milliseconds but `limiterWait`, which is seconds.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Sample = Schema.Struct({
  seq: Schema.Number,
  at: Schema.Number,
  /** Rises when a job has changed. */
  version: Schema.Number,
  workers: Schema.Struct({
    idle: number,
    initializing: number,
    running: number,
    throttled: number,
    unhealthy: number
  }),
  inQueue: Schema.Number,
  inProgress: Schema.Number,
  done: Schema.Number,
  total: Schema.Number,
  failed: Schema.Number,
  /** Jobs a second of late. */
  rate: Schema.Number,
  eta: number,
  oldestQueued: number,
  diagnosis: text,
  requests: number,
  /** Requests of this process that were sent again. */
  retries: number,
  throttles: Schema.Number,
  limiterWait: Schema.Number,
  /** Of this process, for each operation that it has sent. */
  limits: Schema.Array(LimitUse),
  /** In USD. */
  spent: number,
  faults: Schema.optional(Schema.Array(Schema.String)),
  problem: text
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Sample extends Schema.Schema.Type<typeof Sample> {}

/**
 * The data of the first event of a stream, `begin`. The ids of events are `<life>-<seq>`; those of a server before have another life, and a stream
 * that is asked to go on after one of them, or after what is no id, starts anew: `after` is 0.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Begin = Schema.Struct({
  /** Of this server: random, and another after each start. */
  life: Schema.String,
  /** The `seq` of the sample after which the stream goes on; 0 is the beginning of the history. */
  after: Schema.Number,
  /** An event `alive` comes as often, in milliseconds: a client that hears nothing for some of them connects again. */
  heartbeat: Schema.Number
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Begin extends Schema.Schema.Type<typeof Begin> {}

/**
 * What the jobs of a source come to. Costs are USD, where the source has rates: `unpriced` is how many jobs were on a worker for which there is none.
 * Histograms count by `bounds`, in milliseconds, and what is above all of them.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Summary = Schema.Struct({
  total: Schema.Number,
  counts,
  failures: Schema.Array(Schema.Struct({ kind: Schema.String, count: Schema.Number })),
  bounds: Schema.Array(Schema.Number),
  delays: Schema.Array(Schema.Number),
  executions: Schema.Array(Schema.Number),
  cost: Schema.Struct({ spent: number, wasted: number, expected: number, budget: number, unpriced: Schema.Number })
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Summary extends Schema.Schema.Type<typeof Summary> {}

/**
 * A job, as `Source.Job` says.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Job = Schema.Struct({
  id: Schema.String,
  jobId: text,
  status: Schema.String,
  createdAt: number,
  acceptedAt: number,
  startedAt: number,
  finishedAt: number,
  delayTime: number,
  coldStart: number,
  executionTime: number,
  workerId: text,
  retries: number,
  error: text
})

/**
 * Something that happened about a job, as `Source.JobEvent` says.
 *
 * @since 0.1.0
 * @category schemas
 */
export const JobEvent = Schema.Struct({
  kind: Schema.Literal("request", "retry", "throttled", "limiter", "webhook"),
  at: Schema.Number,
  took: number,
  operation: text,
  status: number,
  error: text
})

const ofSource = Schema.Struct({ source: Schema.String })
const ofJob = Schema.Struct({ source: Schema.String, id: Schema.String })
const Done = Schema.Struct({ done: Schema.Boolean })

/** A window of a list: no page asks for more rows than it shows. */
const Window = Schema.NumberFromString.pipe(Schema.int(), Schema.nonNegative())

const action = <const Name extends string, A, I>(name: Name, payload: Schema.Schema<A, I>) =>
  HttpApiEndpoint.post(name, `/api/actions/${name}`)
    .setPayload(payload)
    .addSuccess(Done)
    .addError(NotFound)
    .addError(ActionFailed)
    .middleware(Authorization)

/**
 * What anyone who reaches the dashboard may see.
 *
 * @since 0.1.0
 * @category api
 */
export const view = HttpApiGroup.make("view", { topLevel: true })
  .add(HttpApiEndpoint.get("sources", "/api/sources").addSuccess(Schema.Array(SourceInfo)))
  .add(
    HttpApiEndpoint.get("history", "/api/history")
      .setUrlParams(ofSource)
      .addSuccess(Schema.Array(Sample))
      .addError(NotFound)
  )
  .add(HttpApiEndpoint.get("summary", "/api/summary").setUrlParams(ofSource).addSuccess(Summary).addError(NotFound))
  .add(
    HttpApiEndpoint.get("jobs", "/api/jobs")
      .setUrlParams(
        Schema.Struct({
          source: Schema.String,
          status: text,
          search: text,
          offset: Schema.optional(Window),
          limit: Schema.optional(Window)
        })
      )
      .addSuccess(Schema.Struct({ total: Schema.Number, version: Schema.Number, jobs: Schema.Array(Job) }))
      .addError(NotFound)
  )
  .add(
    HttpApiEndpoint.get("job", "/api/job")
      .setUrlParams(ofJob)
      .addSuccess(Schema.Struct({ job: Job, events: Schema.Array(JobEvent) }))
      .addError(NotFound)
  )
  .add(
    // Named events: `begin`, then `sample` and `alive`. `after` is for clients that cannot set `Last-Event-ID`, which counts before it.
    HttpApiEndpoint.get("events", "/api/events")
      .setUrlParams(Schema.Struct({ source: Schema.String, after: text }))
      .addSuccess(HttpApiSchema.Text({ contentType: "text/event-stream" }))
      .addError(NotFound)
  )

/**
 * What needs the token.
 *
 * @since 0.1.0
 * @category api
 */
export const actions = HttpApiGroup.make("actions", { topLevel: true })
  // Does nothing: whether the token is right.
  .add(HttpApiEndpoint.post("token", "/api/token").addSuccess(Done).middleware(Authorization))
  .add(
    HttpApiEndpoint.post("payload", "/api/payload")
      .setPayload(ofJob)
      .addSuccess(Schema.Struct({ input: Schema.optional(Schema.Unknown), output: Schema.optional(Schema.Unknown) }))
      .addError(NotFound)
      .addError(ActionFailed)
      .middleware(Authorization)
  )
  .add(action("cancel", ofJob))
  .add(action("retry", ofJob))
  .add(
    action(
      "workers",
      Schema.Struct({ source: Schema.String, max: Schema.Number.pipe(Schema.int(), Schema.between(0, 1000)) })
    )
  )
  .add(action("faults", Schema.Struct({ source: Schema.String, names: Schema.Array(Schema.String) })))

/**
 * The whole API.
 *
 * @since 0.1.0
 * @category api
 */
export const api = HttpApi.make("effect-runpod-dashboard").add(view).add(actions)
