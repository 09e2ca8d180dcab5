import { FileSystem } from "@effect/platform/FileSystem"
import * as BatchJournal from "effect-runpod/BatchJournal"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { stateOf, Tally } from "../batch/tally.js"
import { LocalError } from "../shell/errors.js"
import { Output, toStdout } from "../shell/output.js"
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

const write = (path: string, text: string) =>
  FileSystem.pipe(
    Effect.flatMap((fs) => fs.writeFileString(path, text)),
    Effect.mapError(({ message }) => new LocalError({ message: `${path} cannot be written: ${message}` }))
  )

interface ReportArgs {
  readonly journal: string
  readonly rate: number | undefined
  readonly html: string | undefined
}

export const report = Effect.fnUntraced(function* ({ html, journal, rate }: ReportArgs) {
  const output = yield* Output
  const snapshot = yield* BatchJournal.read(journal)
  const { endpointId, items } = snapshot
  if (html !== undefined) {
    const { journalToHtml } = yield* Effect.promise(() => import("effect-runpod-dashboard/BatchReport"))
    const page = journalToHtml(snapshot, { rate })
    if (html === "-") return yield* toStdout(page)
    yield* write(html, page)
  }
  const tally = new Tally(endpointId, rate)
  for (const item of items) tally.addItem(item)
  yield* output.one(tally.toJson(), tally.toText())
})
