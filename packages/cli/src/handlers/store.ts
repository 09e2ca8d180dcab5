import { BatchJournalError } from "effect-runpod/BatchError"
import * as BatchStore from "effect-runpod-cluster/BatchStore"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { settledKinds, Tally } from "../batch/tally.js"
import { messageOf, Unsuccessful, UsageError } from "../shell/errors.js"
import { Output, toRow } from "../shell/output.js"
import * as Store from "../shell/store.js"
import { exitCodes } from "../spec/statuses.js"

/** Runs over the store of a place. A batch that it does not have is told as an endpoint or a job is that is not there. */
const overStore = <A, E, R>(effect: Effect.Effect<A, E, R>, args: Store.Place) =>
  effect.pipe(
    Effect.catchIf(
      (error) => error instanceof BatchJournalError && error.reason === "WrongId",
      (error) => new Unsuccessful({ code: exitCodes.notFound, message: messageOf(error) ?? "" })
    ),
    Effect.provide(Store.layer(args))
  )

/** How many outcomes are read at once. */
const pageSize = 500

interface ListArgs extends Store.Place {
  readonly limit: number | undefined
}

const countsOf = ({ failed, intended, settled, submitted, total, waiting }: BatchStore.Progress): string =>
  `${total} items: ${settled} ended, ${submitted} in flight, ${intended} in doubt, ${waiting} to be submitted; ${failed} failed`

/** The batches of a store, the newest first. */
export const list = Effect.fnUntraced(function* ({ limit }: ListArgs) {
  const output = yield* Output
  const store = yield* BatchStore.BatchStore
  const batches = yield* store.list({ limit })
  yield* output.each(
    Stream.fromIterable(batches),
    (batch) => ({
      ...batch,
      createdAt: new Date(batch.createdAt).toISOString(),
      endpointId: batch.endpointId ?? null
    }),
    (batch) =>
      toRow(batch.id, batch.state, batch.endpointId ?? "-", new Date(batch.createdAt).toISOString(), countsOf(batch))
  )
}, overStore)

/** All outcomes of a batch, page by page. */
const outcomesOf = (store: BatchStore.Service, id: string) =>
  Stream.paginateChunkEffect(-1, (after) =>
    Effect.map(store.outcomes(id, { after, limit: pageSize }), (page) => {
      const last = page.at(-1)
      const next = last === undefined || page.length < pageSize ? Option.none() : Option.some(last.index)
      return [Chunk.unsafeFromArray(page), next] as const
    })
  )

/** What an outcome came to, in one word. Its problem counts before its job, whose end it may be about. */
const kindOf = ({ problem, settled }: BatchStore.StoredOutcome): string =>
  problem?.kind ?? (settled === undefined ? "Unknown" : settledKinds[settled.status])

const dataOf = (outcome: BatchStore.StoredOutcome) => {
  const { hash: _hash, input: _input, problem, settled, ...item } = outcome
  const { attempts, delayTime, error, executionTime, jobId, output, status, workerId } = settled ?? {}
  return {
    ...item,
    state: kindOf(outcome),
    jobId,
    status,
    attempts,
    delayTime,
    executionTime,
    workerId,
    output,
    error: error ?? problem?.error
  }
}

interface InspectArgs extends Store.Place {
  readonly journal: string
  readonly all: boolean
}

/** How a batch stands in numbers; with `all` its outcomes. */
export const inspect = Effect.fnUntraced(function* ({ all, journal: id }: InspectArgs) {
  const output = yield* Output
  const store = yield* BatchStore.BatchStore
  const progress = yield* store.progress(id)
  if (!all) {
    const { endpointId, remaining } = yield* store.status(id)
    return yield* output.one(
      { id, endpointId: endpointId ?? null, ...progress, remaining },
      `${id} on ${endpointId ?? "no endpoint"}, ${progress.state}, ${progress.done} of ${progress.chunks} chunks done\n${countsOf(progress)}`
    )
  }
  yield* output.each(outcomesOf(store, id), dataOf, (outcome) =>
    toRow(outcome.key, kindOf(outcome), outcome.settled?.jobId ?? "-")
  )
}, overStore)

interface ReportArgs extends Store.Place {
  readonly journal: string
  readonly rate: number | undefined
  readonly html: string | undefined
}

const errorTextOf = ({ problem, settled }: BatchStore.StoredOutcome): string | undefined => {
  const error = settled?.error ?? problem?.error
  if (error === undefined) return undefined
  return typeof error === "string" ? error : JSON.stringify(error)
}

/** What the outcomes of a batch have come to so far. */
export const report = Effect.fnUntraced(function* ({ html, journal: id, rate }: ReportArgs) {
  if (html !== undefined) return yield* new UsageError({ message: "--html is for journals, and not for --store." })
  const output = yield* Output
  const store = yield* BatchStore.BatchStore
  const { endpointId } = yield* store.status(id)
  const tally = new Tally(endpointId, rate)
  yield* Stream.runForEach(outcomesOf(store, id), (outcome) =>
    Effect.sync(() => {
      const { delayTime, earlierExecutionTime, executionTime } = outcome.settled ?? {}
      const times = { delayTime, earlierExecutionTime, executionTime }
      tally.add({ kind: kindOf(outcome), message: errorTextOf(outcome), ...times, replayed: false })
    })
  )
  const progress = yield* store.progress(id)
  yield* output.one({ ...tally.toJson(), progress }, `${tally.toText()}\nof ${countsOf(progress)}`)
}, overStore)
