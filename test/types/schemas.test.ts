import type {
  EndpointId,
  Health,
  Job,
  JobId,
  JobStatus,
  JournalEntry,
  PurgeResult,
  QueueDiagnosis,
  RemoteBatch,
  RequestList,
  RunRequest,
  StreamChunk,
  WebhookEvent
} from "effect-runpod"
import type * as Either from "effect/Either"
import { pipe } from "effect/Function"
import type * as Schema from "effect/Schema"
import { describe, expectTypeOf, it } from "vitest"

/** The library's values, of which these tests need the types alone: nothing of it is loaded. */
declare const core: typeof import("effect-runpod")

type Type<S extends Schema.Schema.Any> = Schema.Schema.Type<S>

describe("the type of a schema", () => {
  it("is the interface of its name", () => {
    expectTypeOf<Type<typeof Job.Job>>().toEqualTypeOf<Job.Job>()
    expectTypeOf<Type<typeof Job.SyncJob>>().toEqualTypeOf<Job.SyncJob>()
    expectTypeOf<Type<typeof JobStatus.JobStatus>>().toEqualTypeOf<JobStatus.JobStatus>()
    expectTypeOf<Type<typeof Health.Health>>().toEqualTypeOf<Health.Health>()
    expectTypeOf<Type<typeof Health.Jobs>>().toEqualTypeOf<Health.Jobs>()
    expectTypeOf<Type<typeof Health.Workers>>().toEqualTypeOf<Health.Workers>()
    expectTypeOf<Type<typeof StreamChunk.StreamChunk>>().toEqualTypeOf<StreamChunk.StreamChunk>()
    expectTypeOf<Type<typeof StreamChunk.StreamReply>>().toEqualTypeOf<StreamChunk.StreamReply>()
    expectTypeOf<Type<typeof RequestList.RequestList>>().toEqualTypeOf<RequestList.RequestList>()
    expectTypeOf<Type<typeof PurgeResult.PurgeResult>>().toEqualTypeOf<PurgeResult.PurgeResult>()
    expectTypeOf<Type<typeof WebhookEvent.WebhookEvent>>().toEqualTypeOf<WebhookEvent.WebhookEvent>()
    expectTypeOf<Type<typeof RemoteBatch.RemoteBatch>>().toEqualTypeOf<RemoteBatch.RemoteBatch>()
    expectTypeOf<Type<typeof RemoteBatch.BatchPage>>().toEqualTypeOf<RemoteBatch.BatchPage>()
    expectTypeOf<Type<typeof RunRequest.RunRequest>>().toEqualTypeOf<RunRequest.RunRequest>()
    expectTypeOf<Type<typeof RunRequest.ExecutionPolicy>>().toEqualTypeOf<RunRequest.ExecutionPolicy>()
    expectTypeOf<Type<typeof RunRequest.S3Config>>().toEqualTypeOf<RunRequest.S3Config>()
    expectTypeOf<Type<typeof QueueDiagnosis.QueueDiagnosis>>().toEqualTypeOf<QueueDiagnosis.QueueDiagnosis>()
    expectTypeOf<Type<typeof JournalEntry.Entry>>().toEqualTypeOf<JournalEntry.Entry>()
  })

  it("needs no service", () => {
    expectTypeOf<Schema.Schema.Context<typeof Job.Job>>().toBeNever()
    expectTypeOf<Schema.Schema.Context<typeof RunRequest.RunRequest>>().toBeNever()
  })
})

describe("ids", () => {
  it("are strings that are told apart", () => {
    expectTypeOf<JobId.JobId>().toExtend<string>()
    expectTypeOf<EndpointId.EndpointId>().toExtend<string>()
    expectTypeOf<JobId.JobId>().not.toExtend<EndpointId.EndpointId>()
    expectTypeOf<string>().not.toExtend<JobId.JobId>()
    expectTypeOf<typeof JobId.unsafeMake>().returns.toEqualTypeOf<JobId.JobId>()
  })
})

describe("jobs", () => {
  it("are narrowed by their guards", () => {
    const ended = (job: Job.Job) => (core.Job.isTerminal(job) ? job : undefined)
    const named = (job: Job.SyncJob) => (core.Job.hasId(job) ? job.id : undefined)
    expectTypeOf(ended).returns.toEqualTypeOf<Job.TerminalJob | undefined>()
    expectTypeOf(named).returns.toEqualTypeOf<JobId.JobId | undefined>()
    expectTypeOf<Job.TerminalJob["status"]>().toEqualTypeOf<JobStatus.Terminal>()
  })

  it("are read data first and data last", () => {
    const first = (body: unknown) => core.Job.fromReply(body, "job-1")
    const last = (body: unknown) => pipe(body, core.Job.fromReply("job-1"))
    expectTypeOf(first).returns.toEqualTypeOf<Either.Either<Job.Job, string>>()
    expectTypeOf(last).returns.toEqualTypeOf<Either.Either<Job.Job, string>>()
  })
})
