/** What a kind of batch does with the workflows of its chunks: a process drives them, and those of a batch are executed. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Batch from "effect-runpod/Batch"
import { BatchJournalError } from "effect-runpod/BatchError"
import * as Endpoint from "effect-runpod/Endpoint"
import type { RunPod } from "effect-runpod/RunPod"
import type * as BatchCluster from "../../BatchCluster.js"
import * as BatchStore from "../../BatchStore.js"
import { invalid } from "../batches.js"
import { isStorable } from "../database.js"
import { roundsOf } from "./placement.js"
import { again, chunkWorkflow, register, whenUnreachable } from "./workflow.js"

const notHandedOver = (why: string) => {
  const detail = `its chunks were not handed over to the cluster: ${why}. Nothing is lost: start it again.`
  return new BatchJournalError({ reason: "Io", detail })
}

export const usualChunks = 8
/** So many are in doubt when the process is killed. At 0.6 seconds for a submit and what is noted of it, RunPod takes no more in a second. */
const mostAhead = 64
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
  if (typeof name !== "string" || !names.test(name) || !isStorable(name))
    return invalid(
      "the `name` of its kind has no, or more than 100 characters, or a `/` or no well-formed Unicode in it. Give another."
    )
  if (!(chunks >= 1)) return invalid("the `chunks` of its kind are no number from 1 on. Give another.")
  return concurrency >= 1 ? Effect.void : invalid("the `concurrency` of its kind is no number from 1 on. Give another.")
}

/** The id in the store of a batch of a kind. */
export const storeIdOf = (name: string, id: string): string => `${name}/${id}`

/** The workflow of a kind of batch: `layer` has this process drive chunks, `execute` has those of a batch in the store driven, and `handOver` one. */
export const make = <I, IE, O, OE, E, R>(options: AnyOptions<I, IE, O, OE, E, R>) => {
  const { chunkSize: _, chunks = usualChunks, endpoint, input, key: __, load, name, output, ...driveOptions } = options
  const ChunkWorkflow = chunkWorkflow(name)

  const layer = Layer.scopedDiscard(
    Effect.gen(function* () {
      const places = yield* Effect.makeSemaphore(chunks)
      const ahead = Batch.ahead(mostAhead, { until: "noted" })
      const context = yield* Effect.context<RunPod | BatchStore.BatchStore | R>()
      // They end with this layer: the cluster does not wait for a workflow whose shard is on its way to another process just then.
      const drives = yield* FiberSet.make<BatchStore.Driven, unknown>()
      const within = <E, R>(driven: Effect.Effect<BatchStore.Driven, E, R>) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(FiberSet.run(drives, restore(driven)), (fiber) =>
            Effect.onInterrupt(restore(Fiber.join(fiber)), () => Fiber.interrupt(fiber))
          )
        )
      yield* register(name, ({ batch, chunk }) =>
        Effect.gen(function* () {
          yield* check(options)
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
          return yield* places.withPermits(1)(within(driven))
        }).pipe(Effect.mapInputContext((input: Context.Context<never>) => Context.merge(context, input)))
      )
    })
  )

  /** What is asked of the cluster's storage, while it is away for a moment. */
  const asked = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    whenUnreachable(effect, () => notHandedOver("the database cannot be reached")).pipe(
      Effect.retry(Schedule.intersect(again, Schedule.recurUpTo(longestHandOver))),
      Effect.timeoutFail({
        duration: longestHandOver,
        onTimeout: () =>
          notHandedOver(`the process whose turn it is does not have the layer of "${name}", or does not answer`)
      })
    )

  const handOver =
    (batch: string) =>
    ({ chunk, round }: Pick<BatchStore.OpenChunk, "chunk" | "round">) =>
      asked(Effect.asVoid(ChunkWorkflow.execute({ batch, chunk, round }, { discard: true })))

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
            const result = yield* asked(ChunkWorkflow.poll(id))
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
      yield* Effect.forEach(yield* notEnded(batch, open), handOver(batch), { concurrency: 8, discard: true })
    })

  return { layer, execute, handOver }
}
