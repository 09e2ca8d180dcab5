/** A kind of batch: what is asked of its batches. */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Batch from "effect-runpod/Batch"
import { BatchJournalError } from "effect-runpod/BatchError"
import * as JobError from "effect-runpod/JobError"
import type { Ended } from "effect-runpod/Job"
import * as JobId from "effect-runpod/JobId"
import { RunPodError } from "effect-runpod/RunPodError"
import * as TerminalText from "effect-runpod/TerminalText"
import type * as BatchCluster from "../../BatchCluster.js"
import * as BatchStore from "../../BatchStore.js"
import { checkId, invalid, maxCount } from "../batches.js"
import * as Inputs from "../inputs.js"
import { monotonicMillis } from "../monotonic.js"
import { sha256 } from "../sha256.js"
import { type AnyOptions, check, make as makeWorkflow, storeIdOf, usualOnInvalidInput } from "./execution.js"

/**
 * An input has no job, for a reason that is no error of a request.
 */
export class ItemError extends Data.TaggedError("ItemError")<{
  readonly key: string
  /**
   * `InvalidInput`: the schema of the workers does not accept it. `InputChanged`: `load` gave another input than the batch was started with, or none.
   * `Defect`: a defect of the worker's program.
   */
  readonly reason: string
  readonly detail: string
}> {
  override get message(): string {
    return TerminalText.make(`The input "${this.key}" has no outcome of a job (${this.reason}): ${this.detail}`)
  }
}

const pageSize = 250
/** In milliseconds. */
const shortestPoll = 100
/** How often is looked for the end, in milliseconds, while of a batch the last fourth of its chunks is open, of so many at most, and for so long after one has ended. */
const lastPoll = 25
const mostLast = 16
const longestLast = 1_000

/** What ends the item of a batch badly that may come out well at another time. */
const failedKinds = [
  "JobFailedError",
  "JobCancelledError",
  "JobTimedOutError",
  "OutputMissingError",
  "OutputDecodeError",
  "JobNotFoundError",
  "WaitTimeoutError",
  "BadRequestError",
  "PayloadTooLargeError",
  "InvalidInput",
  "InputChanged",
  "Defect"
]

const isStream = <I, E, R>(inputs: Iterable<I> | Stream.Stream<I, E, R>): inputs is Stream.Stream<I, E, R> =>
  hasProperty(inputs, Stream.StreamTypeId)

/** Its error and its end, which are kept apart for messages. */
const problemText = (error: unknown): string => (typeof error === "string" ? error : JSON.stringify(error))

/** What a kind of batch is, whether its inputs are stored or loaded. */
const base = <I, IE, O, OE, E = never, R = never>(options: AnyOptions<I, IE, O, OE, E, R>) => {
  const { chunkSize, endpoint, name, output } = options
  const storeId = (id: string) => storeIdOf(name, id)
  const decodeOutput = Schema.decodeUnknown(output)
  const decodeError = Schema.decodeUnknownOption(Schema.Union(RunPodError, JobError.WaitTimeoutError))
  const { execute, handOver, layer } = makeWorkflow(options)

  /** Stores the items, and has them worked on. */
  const begin = <E, R>(
    id: string,
    pages: Stream.Stream<ReadonlyArray<BatchStore.NewItem | BatchStore.NewReference>, E, R>,
    more: BatchCluster.StartOptions | undefined
  ) =>
    Effect.gen(function* () {
      const store = yield* BatchStore.BatchStore
      yield* check(options)
      yield* checkId(id)
      yield* store.create({ id: storeId(id), endpointId: endpoint, chunkSize, ...more }, pages)
      yield* execute(storeId(id))
    })

  /** A transformation of the schema's own that throws is a defect of this outcome alone. */
  const resultOf = ({
    key,
    problem,
    settled
  }: BatchStore.StoredOutcome): Effect.Effect<BatchCluster.ItemOutcome<O>["result"]> => {
    if (settled === undefined) {
      const known = decodeError(problem?.error)
      return Effect.succeed(
        Exit.fail(
          Option.getOrElse(
            known,
            () => new ItemError({ key, reason: problem?.kind ?? "Unknown", detail: problemText(problem?.error) })
          )
        )
      )
    }
    const { delayTime, error, executionTime, jobId, output: value, status, workerId } = settled
    const job: Ended = {
      id: JobId.unsafeMake(jobId),
      status,
      raw: {},
      ...(delayTime === undefined ? {} : { delayTime }),
      ...(executionTime === undefined ? {} : { executionTime }),
      ...(workerId === undefined ? {} : { workerId }),
      ...(error === undefined ? {} : { error }),
      ...(value === undefined ? {} : { output: value })
    }
    // What is stored was struck out when it was written.
    const asItIs = (text: string) => text
    const failure = JobError.fromJob(endpoint, job, asItIs)
    if (failure !== undefined) return Effect.succeed(Exit.fail(failure))
    return Effect.exit(
      Effect.mapError(
        Effect.suspend(() => decodeOutput(value)),
        ({ message }) => JobError.fromUndecodable(endpoint, job, message, asItIs)
      )
    )
  }

  const outcomeOf = (stored: BatchStore.StoredOutcome): Effect.Effect<BatchCluster.ItemOutcome<O>> => {
    const { delayTime, executionTime, jobId } = stored.settled ?? {}
    return Effect.map(resultOf(stored), (result) => ({
      index: stored.index,
      key: stored.key,
      result,
      ...(jobId === undefined ? {} : { jobId: JobId.unsafeMake(jobId) }),
      ...(delayTime === undefined ? {} : { delayTime }),
      ...(executionTime === undefined ? {} : { executionTime })
    }))
  }

  /** Whether each item has an outcome. */
  const isWhole = ({ open, state }: BatchStore.Status) => state === "Open" && open === 0

  /** Whether nobody will add an outcome. */
  const isEnd = (status: BatchStore.Status) =>
    status.state === "Cancelled" || status.failuresLeft === 0 || (status.remaining ?? 1) <= 0 || isWhole(status)

  const stored = (id: string, { after = -1, poll = "1 second" }: BatchCluster.OutcomesOptions = {}) =>
    Stream.unwrap(
      Effect.map(BatchStore.BatchStore, (store) => {
        const page = (from: number) =>
          Effect.gen(function* () {
            const read = store.outcomes(storeId(id), { after: from, limit: pageSize })
            // In their order: what comes behind an item that is under way waits.
            const gapIn = (page: ReadonlyArray<BatchStore.StoredOutcome>) =>
              page.findIndex(({ index }, i) => index !== from + 1 + i)
            const first = yield* read
            const isFull = first.length === pageSize && gapIn(first) === -1
            const status = store.status(storeId(id))
            const before = isFull ? undefined : yield* status
            // Read once more behind the look: what came before the end is in it.
            const found = isFull ? first : yield* read
            const gap = gapIn(found)
            // Where items were opened again after the look, it has not ended, and what is missing comes.
            const hasEnded =
              before !== undefined && isEnd(before) && (gap === -1 || (!isWhole(before) && isEnd(yield* status)))
            const ready = hasEnded || gap === -1 ? found : found.slice(0, gap)
            const last = ready.at(-1)
            if (last === undefined && !hasEnded) yield* Effect.sleep(poll)
            const next = last?.index ?? (hasEnded ? undefined : from)
            return [Chunk.unsafeFromArray([...ready]), Option.fromNullable(next)] as const
          })
        return Stream.paginateChunkEffect(Number.isNaN(after) ? -1 : Math.max(-1, Math.floor(after)), page)
      })
    )

  const retry = (id: string, kinds: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const store = yield* BatchStore.BatchStore
      const reopened = yield* store.reopen(storeId(id), kinds, handOver(storeId(id)))
      yield* execute(storeId(id))
      return reopened.length
    })

  const progress = (id: string) => Effect.flatMap(BatchStore.BatchStore, (store) => store.progress(storeId(id)))

  const kind: BatchCluster.Kind<R> = {
    name,
    layer,
    progress,
    report: (id) =>
      Effect.gen(function* () {
        const store = yield* BatchStore.BatchStore
        const { state, total } = yield* store.progress(storeId(id))
        const counts: Record<string, number> = {}
        const queue: Array<number> = []
        const execution: Array<number> = []
        const pages = Stream.paginateChunkEffect(-1, (after) =>
          Effect.map(store.outcomes(storeId(id), { after, limit: pageSize }), (page) => [
            Chunk.unsafeFromArray([...page]),
            Option.fromNullable(page.at(-1)?.index)
          ])
        )
        yield* Stream.runForEach(pages, (stored) =>
          Effect.map(resultOf(stored), (result) => {
            const kind = Exit.isSuccess(result)
              ? "Completed"
              : Option.match(Cause.failureOption(result.cause), {
                  onNone: () => "Defect",
                  onSome: (error) => (error._tag === "ItemError" ? error.reason : error._tag)
                })
            counts[kind] = (counts[kind] ?? 0) + 1
            const { delayTime, executionTime } = stored.settled ?? {}
            if (delayTime !== undefined) queue.push(delayTime)
            if (executionTime !== undefined) execution.push(executionTime)
          })
        )
        const all = Object.values(counts).reduce((sum, count) => sum + count, 0)
        const completed = counts["Completed"] ?? 0
        return {
          endpointId: endpoint,
          counts,
          completed,
          failed: all - completed,
          open: total - all,
          state,
          queueTime: Batch.spreadOf(queue),
          executionTime: Batch.spreadOf(execution)
        }
      }),
    awaitEnd: (id, { poll = "1 second" } = {}) =>
      Effect.gen(function* () {
        const store = yield* BatchStore.BatchStore
        const clock = yield* Effect.clock
        const startedAt = monotonicMillis(clock)
        let last: { readonly open: number; readonly at: number } | undefined
        for (;;) {
          const status = yield* store.status(storeId(id))
          if (isEnd(status)) return yield* store.progress(storeId(id))
          const { chunks, open } = status
          const now = monotonicMillis(clock)
          if (open !== last?.open) last = { open, at: last === undefined ? -Infinity : now }
          const isNearEnd = open <= Math.min(mostLast, Math.ceil(chunks / 4)) && now - last.at < longestLast
          const wait = isNearEnd ? lastPoll : Math.max(shortestPoll, (now - startedAt) / 250)
          yield* Effect.sleep(Duration.min(poll, Duration.millis(wait)))
        }
      }),
    cancel: (id) => Effect.flatMap(BatchStore.BatchStore, (store) => store.cancel(storeId(id))),
    remove: (id) => Effect.flatMap(BatchStore.BatchStore, (store) => store.remove(storeId(id))),
    retryAmbiguous: (id) => retry(id, ["SubmitAmbiguousError"]),
    retryFailed: (id) => retry(id, failedKinds)
  }
  return { kind, begin, stored, outcomeOf }
}

const makeStored = <I, IE, O, OE>(options: BatchCluster.Options<I, IE, O, OE>): BatchCluster.BatchCluster<I, O> => {
  const { begin, kind, outcomeOf, stored } = base(options)
  const { input, key, onInvalidInput = usualOnInvalidInput } = options
  const encode = Inputs.safely(input, Schema.encode(input))
  const decode = Inputs.safely(input, Schema.decodeUnknown(input))
  const read = Inputs.readerOf({ input, onInvalidInput })
  /** Why who works on an item would not read its input, once it has been JSON. */
  const issueOf = ({ input }: BatchStore.NewItem): Effect.Effect<string | undefined> => {
    // What is no JSON at all the store refuses.
    const stored = Option.liftThrowable(() => JSON.parse(Inputs.textOf(input)) as unknown)()
    return Option.isNone(stored)
      ? Effect.succeed(undefined)
      : Effect.match(read(stored.value), { onFailure: (issue) => issue, onSuccess: () => undefined })
  }
  const itemsOf = <E, R>(inputs: Iterable<I> | Stream.Stream<I, E, R>) =>
    (isStream(inputs) ? inputs : Stream.fromIterable(inputs)).pipe(
      Stream.zipWithIndex,
      Stream.grouped(pageSize),
      // Page by page: an effect of the stream for each input costs ten times as much.
      Stream.mapEffect((page) =>
        Effect.gen(function* () {
          const items: Array<BatchStore.NewItem> = []
          for (const [value, index] of page) {
            const encoded = encode(value)
            // Few schemas need an effect for it.
            const input = Either.isEither(encoded) && Either.isRight(encoded) ? encoded.right : yield* encoded
            const item = { key: key?.(value, index) ?? String(index), input }
            const issue = yield* issueOf(item)
            if (issue !== undefined) return yield* unreadable(item.key, issue)
            items.push(item)
          }
          return items
        })
      )
    )
  return {
    ...kind,
    start: (id, inputs, more) => begin(id, itemsOf(inputs), more),
    outcomes: (id, options) =>
      Stream.mapEffect(stored(id, options), (stored) =>
        Effect.zipWith(outcomeOf(stored), decode(stored.input), (outcome, input) => ({ ...outcome, input }))
      )
  }
}

const makeLoaded = <I, IE, O, OE, E, R>(
  options: BatchCluster.LoadedOptions<I, IE, O, OE, E, R>
): BatchCluster.LoadedBatchCluster<O, E, R> => {
  const { begin, kind, outcomeOf, stored } = base<I, IE, O, OE, E, R>(options)
  const { input, key, load, onInvalidInput = usualOnInvalidInput } = options
  const encode = Inputs.safely(input, Schema.encode(input))
  const read = Inputs.readerOf({ input, onInvalidInput })
  const references = (id: string, count: number) =>
    Inputs.pagesOf(count, (range) =>
      Effect.gen(function* () {
        const loaded = yield* load(id, range)
        return yield* Effect.forEach(Array.from({ length: range.to - range.from }), (_, i) =>
          Effect.gen(function* () {
            const value = loaded[i]
            if (value === undefined) return yield* missing(range.from + i)
            const index = range.from + i
            const name = key?.(value, index) ?? String(index)
            const encoded = yield* encode(value)
            yield* Effect.mapError(read(encoded), (issue) => unreadable(name, issue))
            const text = yield* Effect.try({
              try: () => Inputs.textOf(encoded),
              catch: () => unreadable(name, "it is no JSON")
            })
            return { key: name, hash: yield* sha256(text), length: text.length }
          })
        )
      })
    )
  return {
    ...kind,
    start: (id, { count }, more) =>
      Number.isInteger(count) && count >= 0 && count <= maxCount
        ? begin(id, references(id, count), more)
        : invalid("`count` is no whole number from 0 on. Give how many inputs `load` has."),
    outcomes: (id, options) => Stream.mapEffect(stored(id, options), outcomeOf)
  }
}

export function make<I, IE, O, OE, E, R>(
  options: BatchCluster.LoadedOptions<I, IE, O, OE, E, R>
): BatchCluster.LoadedBatchCluster<O, E, R>
export function make<I, IE, O, OE>(
  options: BatchCluster.Options<I, IE, O, OE> & { readonly load?: undefined }
): BatchCluster.BatchCluster<I, O>
export function make<I, IE, O, OE, E, R>({ load, ...options }: AnyOptions<I, IE, O, OE, E, R>) {
  return load === undefined ? makeStored(options) : makeLoaded({ ...options, load })
}

const unreadable = (key: string, issue: string) => {
  const detail = `the \`input\` of its kind does not read what it encodes this input to, as JSON has that: ${issue}. Give another input, or another schema.`
  return new BatchJournalError({ reason: "Unstorable", key, detail })
}

/** A batch that begins without one of its inputs would not have it later, either. */
const missing = (index: number) => {
  const detail = `\`load\` gave no input at index ${index}. Let it give as many as it is asked for, or \`start\` a batch of fewer.`
  return new BatchJournalError({ reason: "InputChanged", detail })
}
