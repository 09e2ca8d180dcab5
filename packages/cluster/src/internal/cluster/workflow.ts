/** The workflow of each chunk of a batch: a process drives it until it is done. */
import * as Activity from "@effect/workflow/Activity"
import * as Workflow from "@effect/workflow/Workflow"
import type * as WorkflowEngine from "@effect/workflow/WorkflowEngine"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { BatchJournalError } from "effect-runpod/BatchError"
import * as BatchStore from "../../BatchStore.js"

/** Its execution id says on which shard of the cluster it runs. */
export const chunkWorkflow = (name: string) =>
  Workflow.make({
    name: `runpod-${name}`,
    payload: { batch: Schema.String, chunk: Schema.Number, round: Schema.Number },
    idempotencyKey: ({ batch, chunk, round }) => JSON.stringify([batch, chunk, round]),
    success: Schema.String
  })

/** How long a chunk that could not be driven is left alone, at most. */
const longestPause = Duration.minutes(1)

export const again = Schedule.exponential("1 second").pipe(
  Schedule.union(Schedule.spaced(longestPause)),
  Schedule.jittered
)

/** The storage of the cluster fails as a defect. */
const isUnreachable = (defect: unknown) => hasProperty(defect, "_tag") && defect._tag === "PersistenceError"

export const whenUnreachable = <A, E, R, E2>(
  effect: Effect.Effect<A, E, R>,
  error: (defect: unknown) => E2
): Effect.Effect<A, E | E2, R> =>
  Effect.catchAllDefect(effect, (defect) => (isUnreachable(defect) ? Effect.fail(error(defect)) : Effect.die(defect)))

/** What has no outcome yet may have one later. */
class OpenError extends Data.TaggedError("OpenError")<{ readonly end: "Unread" | "Budget" }> {
  override get message(): string {
    return this.end === "Unread"
      ? "Inputs of it are not what this process's `input` reads: they wait for a process whose definition is newer. End this one, or cancel the batch."
      : "The budget of this process's `Cost` has no room for more of it: it waits for a process that has. Cancel the batch, or give a larger budget."
  }
}

const isOpen = (end: BatchStore.Driven): end is "Unread" | "Budget" => end === "Unread" || end === "Budget"

const isWrongId = (error: unknown): error is BatchJournalError =>
  error instanceof BatchJournalError && error.reason === "WrongId"

/** Whether nothing of a batch is there any more. */
const isGone = (batch: string) =>
  Effect.flatMap(BatchStore.BatchStore, (store) =>
    Effect.match(store.status(batch), { onFailure: isWrongId, onSuccess: () => false })
  )

/** A chunk of a batch in the store. */
interface Chunk {
  readonly batch: string
  readonly chunk: number
}

/** Drives a chunk with what a layer of its kind has. */
type Drive = (chunk: Chunk) => Effect.Effect<BatchStore.Driven, unknown>

/** The layers of a kind that are open in a process: the last one drives its chunks. */
class Drives {
  private readonly open: Array<Drive> = []
  private readonly isOpen = Effect.unsafeMakeLatch()

  add(drive: Drive): Effect.Effect<void, never, Scope.Scope> {
    const remove = Effect.suspend(() => {
      this.open.splice(this.open.indexOf(drive), 1)
      return this.open.length === 0 ? this.isOpen.close : Effect.void
    })
    return Effect.acquireRelease(
      Effect.suspend(() => {
        this.open.push(drive)
        return this.isOpen.open
      }),
      () => remove
    )
  }

  private readonly last: Effect.Effect<Drive> = Effect.zipRight(
    this.isOpen.await,
    Effect.suspend(() => {
      const drive = this.open.at(-1)
      return drive === undefined ? this.last : Effect.succeed(drive)
    })
  )

  private once(drive: Drive, { batch, chunk }: Chunk) {
    return drive({ batch, chunk }).pipe(
      Effect.flatMap((end) => (isOpen(end) ? Effect.fail(new OpenError({ end })) : Effect.succeed(end))),
      Effect.catchIf(isWrongId, (error) =>
        Effect.flatMap(isGone(batch), (gone) => (gone ? Effect.succeed("Removed") : Effect.fail(error)))
      ),
      Effect.sandbox,
      // Another process has the chunk, or the endpoint or the database have a problem that somebody can mend.
      Effect.tapError((cause) =>
        this.open.includes(drive)
          ? Effect.logWarning(`A chunk is driven again in a while (batch ${batch}, chunk ${chunk})`, cause)
          : Effect.void
      ),
      // Its layer was closed: that is no failure, and the next one goes on at once.
      Effect.catchAll((cause) => (this.open.includes(drive) ? Effect.fail(cause) : Effect.succeed(undefined)))
    )
  }

  /** Until the chunk is done. While no layer of its kind is open, it waits for one. */
  run(chunk: Chunk): Effect.Effect<string, never, BatchStore.BatchStore> {
    return Effect.flatMap(this.last, (drive) => this.once(drive, chunk)).pipe(
      // Whatever it is, an interruption within it, too: the workflow's end would be stored. Where this fiber itself is interrupted, another process goes on.
      Effect.retry(again),
      Effect.orDie,
      Effect.flatMap((end) => (end === undefined ? this.run(chunk) : Effect.succeed(end)))
    )
  }
}

/**
 * The workflows that an engine has, which it registers once and for good: the layer of a kind may be closed before its engine is, and opened again.
 */
export class Registrations extends Context.Tag("effect-runpod-cluster/internal/Registrations")<
  Registrations,
  (name: string) => Effect.Effect<Drives>
>() {}

const registrations = Effect.gen(function* () {
  const scope = yield* Effect.scope
  const context = yield* Effect.context<WorkflowEngine.WorkflowEngine | BatchStore.BatchStore>()
  const kinds = new Map<string, Drives>()
  return (name: string) =>
    Effect.suspend(() => {
      const known = kinds.get(name)
      if (known !== undefined) return Effect.succeed(known)
      const drives = new Drives()
      kinds.set(name, drives)
      const workflow = chunkWorkflow(name).toLayer(({ batch, chunk }) => {
        const drive = Activity.make({ name: "drive", success: Schema.String, execute: drives.run({ batch, chunk }) })
        // Its end would be stored where the cluster could not say that it has begun.
        return whenUnreachable(drive, (defect) => defect).pipe(Effect.retry(again), Effect.orDie)
      })
      return Effect.as(Effect.provide(Layer.buildWithScope(workflow, scope), context), drives)
    })
})

/** Of an engine. */
export const layer = Layer.scoped(Registrations, registrations)

/** Has a process drive the chunks of a kind, until the scope is closed. An engine of the program's own has its workflows registered as long. */
export const register = (name: string, drive: Drive) =>
  Effect.gen(function* () {
    const given = yield* Effect.serviceOption(Registrations)
    const drivesOf = Option.isSome(given) ? given.value : yield* registrations
    yield* Effect.flatMap(drivesOf(name), (drives) => drives.add(drive))
  })
