import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import { BatchJournalError } from "../../errors/BatchError.js"
import type { RunPodError } from "../../errors/RunPodError.js"
import * as JobId from "../../schemas/JobId.js"
import type * as JournalEntry from "../../schemas/JournalEntry.js"
import type { BatchJournal } from "../../services/BatchJournal.js"
import type { Endpoint } from "../../services/Endpoint.js"
import { monotonicAt } from "../pace/monotonic.js"
import { defined, jsonOf } from "../text/json.js"
import { sha256 } from "../text/sha256.js"
import type { BatchRun, ItemEnd } from "./batchRun.js"
import * as Item from "./item.js"
import * as BatchJob from "./job.js"
import { waitConcurrency } from "./rules.js"
import { takeTurns } from "./wait.js"

/** A job of an earlier run is looked at for so long even if its time is over. */
const lastLook = 60_000

/** The SHA-256 of what an input is sent as. */
const hashOf = <I>(endpoint: Endpoint<I, unknown>, input: I): Effect.Effect<string, RunPodError> =>
  Effect.map((endpoint.encode ?? Effect.succeed<unknown>)(input), (encoded) => sha256(jsonOf(encoded)))

const inputChanged = (key: string) => {
  const detail =
    "the journal knows another input under this key. Use the inputs it was made with, keys that follow the inputs, or a new journal."
  return new BatchJournalError({ reason: "InputChanged", key, detail })
}

const duplicateKey = (key: string) => {
  const detail = "two inputs of this run have this key. Give `key` a function that tells them apart."
  return new BatchJournalError({ reason: "DuplicateKey", key, detail })
}

/** What an earlier run with the same journal left, and the keys that this one has seen. */
export class Resume<I, O, P, C> {
  private readonly keys = new Set<string>()
  /** The jobs of the earlier run, by the keys of their items. */
  private readonly ends = new Map<string, Deferred.Deferred<ItemEnd<O, P, C>>>()

  constructor(
    private readonly run: BatchRun<I, O, P, C>,
    private readonly journal: BatchJournal
  ) {}

  /** Looks for what does not fit before anything is sent, where the inputs can be gone through twice. */
  checkAll(
    inputs: ReadonlyArray<I>,
    keyOf: (input: I, index: number) => string
  ): Effect.Effect<void, BatchJournalError> {
    return Effect.gen(this, function* () {
      const keys = new Set<string>()
      for (const [index, input] of inputs.entries()) {
        const key = keyOf(input, index)
        if (keys.has(key)) return yield* Effect.fail(duplicateKey(key))
        keys.add(key)
        const state = yield* this.journal.find(key)
        if (Option.isNone(state)) continue
        const hash = yield* Effect.option(hashOf(this.run.endpoint, input))
        if (Option.isSome(hash) && hash.value !== state.value.hash) return yield* Effect.fail(inputChanged(key))
      }
    })
  }

  /** Follows the jobs of an earlier run, whether their inputs have come already or not. */
  collect(entries: ReadonlyArray<JournalEntry.Submitted>): Effect.Effect<void> {
    const { run } = this
    const jobs = entries.map(({ at, attempts, hash, jobId, key }) => {
      const end = Deferred.unsafeMake<ItemEnd<O, P, C>>(FiberId.none)
      this.ends.set(key, end)
      const submittedAt = monotonicAt(run.clock, at)
      const until = Math.min(run.deadline, Math.max(submittedAt + run.timeout, run.now() + lastLook))
      const handle = run.attach(jobId, at)
      return { job: BatchJob.started({ run, item: { key, hash }, handle, submittedAt, until, attempts }), end }
    })
    const turns = takeTurns(jobs, {
      concurrency: waitConcurrency,
      until: run.deadline,
      onInterrupt: ({ job }) => BatchJob.abandon(job),
      turn: ({ end, job }, millis) =>
        Effect.onInterrupt(millis === Infinity ? BatchJob.follow(job) : BatchJob.turn(job, millis), () =>
          BatchJob.abandon(job)
        ).pipe(
          Effect.flatMap((ended) =>
            ended === undefined ? Effect.succeed(false) : Effect.as(Deferred.succeed(end, ended), true)
          )
        )
    })
    return Effect.onError(turns, (cause) =>
      Effect.forEach(this.ends.values(), (end) => Deferred.failCause(end, cause), { discard: true })
    )
  }

  /** Goes on with an item where the journal says that it stands. */
  end(input: I, key: string): Effect.Effect<ItemEnd<O, P, C>> {
    return Effect.gen(this, function* () {
      const { journal, keys, run } = this
      const hash = yield* Effect.either(hashOf(run.endpoint, input))
      if (hash._tag === "Left") return { _tag: "Failed", error: hash.left, attempts: 0 }
      if (keys.has(key)) return yield* run.openWith(duplicateKey(key))
      keys.add(key)
      const found = yield* Effect.either(journal.find(key))
      if (found._tag === "Left") return yield* run.openWith(found.left)
      const item: Item.ItemInput<I> = { item: { key, hash: hash.right }, input }
      if (Option.isNone(found.right)) return yield* Item.fresh(run, item)
      const state = found.right.value
      if (state.hash !== hash.right) return yield* run.openWith(inputChanged(key))
      switch (state._tag) {
        case "Released":
          return yield* Item.fresh(run, item)
        case "Settled":
          return yield* this.replay(key)
        case "Intent":
          return yield* Item.fromIntent(run, item, state.webhook)
        case "Submitted":
          return yield* this.collected(item)
      }
    })
  }

  private collected(item: Item.ItemInput<I>): Effect.Effect<ItemEnd<O, P, C>> {
    const { run } = this
    const { key } = item.item
    const end = this.ends.get(key)
    if (end === undefined) return Effect.dieMessage(`the journal has lost the job of "${key}"`)
    return Effect.flatMap(Deferred.await(end), (end) => {
      const isExpired = end._tag === "Failed" && end.error._tag === "JobNotFoundError"
      return isExpired && run.options.onExpired === "resubmit" ? Item.fresh(run, item) : Effect.succeed(end)
    })
  }

  private replay(key: string): Effect.Effect<ItemEnd<O, P, C>> {
    const { journal, run } = this
    return Effect.matchEffect(journal.outcome(key), {
      onFailure: (error) => run.openWith(error),
      onSuccess: Option.match({
        onNone: () => Effect.dieMessage(`the journal has lost the outcome of "${key}"`),
        onSome: ({ attempts, jobId, delayTime, error, executionTime, output, status, workerId }) =>
          Effect.succeed<ItemEnd<O, P, C>>({
            _tag: "Ended",
            attempts,
            replayed: true,
            handle: run.attach(jobId, undefined),
            job: {
              id: JobId.unsafeMake(jobId),
              status,
              raw: {},
              ...defined({ delayTime, error, executionTime, output, workerId })
            }
          })
      })
    })
  }
}
