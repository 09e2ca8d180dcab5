import * as BatchJournal from "effect-runpod/BatchJournal"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { stateOf, Tally } from "../batch/tally.js"
import { Output } from "../shell/output.js"
import { Progress } from "../shell/progress.js"

interface InspectArgs {
  readonly journal: string
  readonly all: boolean
}

const jobOf = (item: BatchJournal.Item): string | undefined =>
  item._tag === "Submitted" || item._tag === "Settled" ? item.jobId : undefined

const dataOf = (item: BatchJournal.Item, endpointId: string | undefined) => {
  const { hash: _hash, trace: _trace, ...others } = item
  return { ...others, endpointId, state: stateOf(item) }
}

export const inspect = Effect.fnUntraced(function* ({ all, journal }: InspectArgs) {
  const output = yield* Output
  const { update } = yield* Progress
  const { endpointId, items } = yield* BatchJournal.read(journal)
  const open = items.filter((item) => item._tag !== "Settled")
  yield* output.each(
    Stream.fromIterable(all ? items : open),
    (item) => dataOf(item, endpointId),
    (item) => `${item.key}\t${stateOf(item)}\t${jobOf(item) ?? "-"}\n`
  )
  const counts = { items: items.length, open: open.length }
  yield* update(
    `${items.length} items on ${endpointId ?? "no endpoint"}, ${open.length} of them open`,
    { type: "journal", ...counts },
    true
  )
})

interface ReportArgs {
  readonly journal: string
  readonly rate: number | undefined
}

export const report = Effect.fnUntraced(function* ({ journal, rate }: ReportArgs) {
  const output = yield* Output
  const { endpointId, items } = yield* BatchJournal.read(journal)
  const tally = new Tally(endpointId, rate)
  for (const item of items) tally.addItem(item)
  yield* output.one(tally.toJson(), tally.toText())
})
