/** The workflow of each chunk of a batch: which process drives it, and that one does until it is done. */
import * as Activity from "@effect/workflow/Activity"
import * as Workflow from "@effect/workflow/Workflow"
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import { hasProperty } from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Batch from "effect-runpod/Batch"
import { BatchJournalError } from "effect-runpod/BatchError"
import * as Endpoint from "effect-runpod/Endpoint"
import type * as BatchCluster from "../../BatchCluster.js"
import * as BatchStore from "../../BatchStore.js"
import { invalid } from "../batches.js"
import { roundsOf } from "./placement.js"

/** The workflow of each chunk, whose execution id says on which shard of the cluster it runs. */
export const chunkWorkflow = (name: string) =>
  Workflow.make({
    name: `runpod-${name}`,
    payload: { batch: Schema.String, chunk: Schema.Number, round: Schema.Number },
    idempotencyKey: ({ batch, chunk, round }) => JSON.stringify([batch, chunk, round]),
    success: Schema.String
  })

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

/** The storage of the cluster fails as a defect. */
const isUnreachable = (defect: unknown) => hasProperty(defect, "_tag") && defect._tag === "PersistenceError"

const notHandedOver = (why: string) => {
  const detail = `its chunks were not handed over to the cluster: ${why}. Nothing is lost: start it again.`
  return new BatchJournalError({ reason: "Io", detail })
}

/** How long a chunk that could not be driven is left alone, at most. */
const longestPause = Duration.minutes(1)
export const usualChunks = 8
export const usualOnInvalidInput = "leave"
/** How long the cluster may take to accept a chunk. */
const longestHandOver = Duration.seconds(30)

/** Options of both kinds. */
export interface AnyOptions<I, IE, O, OE, E, R> extends BatchCluster.Options<I, IE, O, OE> {
  readonly load?: BatchCluster.LoadedOptions<I, IE, O, OE, E, R>["load"] | undefined
}

/** The cluster's rows have a bound, and a `/` tells the name from the ids of its batches. */
const names = /^[^/]{1,100}$/

/** Fails with the options of a kind that are not what they may be. */
export const check = ({
  chunks = usualChunks,
  concurrency = 1,
  name
}: Pick<BatchCluster.Options<never, unknown, unknown, unknown>, "name" | "chunks" | "concurrency">) => {
  if (!names.test(name))
    return invalid("the `name` of its kind has no, or more than 100 characters, or a `/` in it. Give another.")
  if (!(chunks >= 1)) return invalid("the `chunks` of its kind are no number from 1 on. Give another.")
  return concurrency >= 1 ? Effect.void : invalid("the `concurrency` of its kind is no number from 1 on. Give another.")
}

/** The id in the store of a batch of a kind. */
export const storeIdOf = (name: string, id: string): string => `${name}/${id}`

/** The workflow of a kind of batch: `layer` has this process drive chunks, and `execute` has those of a batch in the store driven. */
export const make = <I, IE, O, OE, E, R>(options: AnyOptions<I, IE, O, OE, E, R>) => {
  const { chunkSize: _, chunks = usualChunks, endpoint, input, key: __, load, name, output, ...driveOptions } = options
  const ChunkWorkflow = chunkWorkflow(name)

  const again = Schedule.exponential("1 second").pipe(Schedule.union(Schedule.spaced(longestPause)), Schedule.jittered)

  const layer = Layer.unwrapScoped(
    Effect.gen(function* () {
      const places = yield* Effect.makeSemaphore(chunks)
      const ahead = Batch.ahead()
      // They end with this layer: the cluster does not wait for a workflow whose shard is on its way to another process just then.
      const drives = yield* FiberSet.make<BatchStore.Driven, unknown>()
      const within = <E, R>(driven: Effect.Effect<BatchStore.Driven, E, R>) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(FiberSet.run(drives, restore(driven)), (fiber) =>
            Effect.onInterrupt(restore(Fiber.join(fiber)), () => Fiber.interrupt(fiber))
          )
        )
      let isClosing = false
      yield* Effect.addFinalizer(() => Effect.sync(() => void (isClosing = true)))
      // Another process has the chunk, or the endpoint or the database have a problem that somebody can mend.
      const logTrouble = (what: string) => (cause: Cause.Cause<unknown>) =>
        isClosing ? Effect.void : Effect.logWarning(`A chunk is driven again in a while (batch ${what})`, cause)
      return ChunkWorkflow.toLayer(({ batch, chunk }) =>
        dispatched(
          Activity.make({
            name: "drive",
            success: Schema.String,
            execute: Effect.gen(function* () {
              const made = yield* Endpoint.make(endpoint, { input, output })
              const driven = BatchStore.drive(made, {
                onInvalidInput: usualOnInvalidInput,
                ahead,
                ...driveOptions,
                id: batch,
                chunk,
                input,
                ...(load === undefined
                  ? {}
                  : { load: (range: BatchStore.Range) => load(batch.slice(storeIdOf(name, "").length), range) })
              })
              return yield* Effect.zipRight(check(options), places.withPermits(1)(within(driven))).pipe(
                Effect.flatMap((end) => (isOpen(end) ? Effect.fail(new OpenError({ end })) : Effect.succeed(end))),
                Effect.catchIf(isWrongId, (error) =>
                  Effect.flatMap(isGone(batch), (gone) => (gone ? Effect.succeed("Removed") : Effect.fail(error)))
                ),
                Effect.sandbox,
                Effect.tapError(logTrouble(`${batch}, chunk ${chunk}`)),
                // Whatever it is, an interruption within it, too: the workflow's end would be stored. Where this fiber itself is interrupted, another process goes on.
                Effect.retry(again),
                Effect.orDie
              )
            })
          })
        )
      )
    })
  )

  /** The workflow's end would be stored where the cluster could not say that it has begun. */
  const dispatched = <R>(activity: Effect.Effect<string, never, R>) =>
    activity.pipe(
      Effect.catchAllDefect((defect) => (isUnreachable(defect) ? Effect.fail(defect) : Effect.die(defect))),
      Effect.retry(again),
      Effect.orDie
    )

  const handOver = <R>(executed: Effect.Effect<string, never, R>) =>
    executed.pipe(
      Effect.catchAllDefect((defect) =>
        isUnreachable(defect) ? Effect.fail(notHandedOver("the database cannot be reached")) : Effect.die(defect)
      ),
      Effect.retry(Schedule.intersect(again, Schedule.recurUpTo(longestHandOver))),
      Effect.timeoutFail({
        duration: longestHandOver,
        onTimeout: () =>
          notHandedOver(`the process whose turn it is does not have the layer of "${name}", or does not answer`)
      })
    )

  /** Open chunks, each with a round whose workflow has not ended: of one that had, a defect of the cluster was the end. */
  const notEnded = (batch: string, open: ReadonlyArray<BatchStore.OpenChunk>) =>
    Effect.gen(function* () {
      const begun = open.filter(({ isBegun }) => isBegun)
      if (begun.length === 0) return open
      const store = yield* BatchStore.BatchStore
      const { failuresLeft = 1, remaining = 1, state } = yield* store.status(batch)
      // What it has stopped for is no defect.
      if (state !== "Open" || failuresLeft === 0 || remaining <= 0) return open
      yield* Effect.forEach(
        begun,
        ({ chunk, round }) =>
          Effect.gen(function* () {
            const id = yield* ChunkWorkflow.executionId({ batch, chunk, round })
            const result = yield* ChunkWorkflow.poll(id)
            if (result?._tag === "Complete") yield* store.raise(batch, { chunk, round })
          }),
        { concurrency: 8, discard: true }
      )
      return yield* store.open(batch)
    })

  const execute = (batch: string) =>
    Effect.gen(function* () {
      const store = yield* BatchStore.BatchStore
      const open = yield* store.open(batch, (chunks) =>
        roundsOf(chunks, (chunk, round) => ChunkWorkflow.executionId({ batch, chunk, round }))
      )
      yield* Effect.forEach(
        yield* notEnded(batch, open),
        ({ chunk, round }) => handOver(ChunkWorkflow.execute({ batch, chunk, round }, { discard: true })),
        { concurrency: 8, discard: true }
      )
    })

  return { layer, execute }
}
