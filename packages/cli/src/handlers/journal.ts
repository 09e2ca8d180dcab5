import * as BatchJournal from "effect-runpod/BatchJournal"
import * as Files from "effect-runpod/Files"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { stateOf, Tally } from "../batch/tally.js"
import { UsageError } from "../shell/errors.js"
import { check, isStdout, read, written } from "../shell/files.js"
import { Output, toRow, toStdout } from "../shell/output.js"
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

/** The journal of a batch, or what is wrong with its file. */
export const readJournal = (path: string) => Effect.zipRight(Files.checkReadable(path), BatchJournal.read(path))

export const inspect = Effect.fnUntraced(function* ({ all, journal }: InspectArgs) {
  const output = yield* Output
  const { update } = yield* Progress
  yield* check(read("the journal", journal))
  const { endpointId, items } = yield* readJournal(journal)
  const open = items.filter((item) => item._tag !== "Settled")
  yield* output.each(
    Stream.fromIterable(all ? items : open),
    (item) => dataOf(item, endpointId),
    (item) => toRow(item.key, stateOf(item), jobOf(item) ?? "-")
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
  readonly html: string | undefined
}

export const report = Effect.fnUntraced(function* ({ html, journal, rate }: ReportArgs) {
  const output = yield* Output
  if (html === "-" && output.format !== "text") {
    const message = `--html - and --output ${output.format} both want stdout: give --html a file, or leave one out.`
    return yield* new UsageError({ message })
  }
  yield* check(read("the journal", journal), written("--html", html))
  if (html !== undefined && !isStdout(html)) yield* Files.checkWritable(html)
  const snapshot = yield* readJournal(journal)
  const { endpointId, items } = snapshot
  if (html !== undefined) {
    const { journalToHtml } = yield* Effect.promise(() => import("effect-runpod-dashboard/BatchReport"))
    const page = journalToHtml(snapshot, { rate })
    if (isStdout(html)) return yield* toStdout(page)
    yield* Files.replace(html, page)
  }
  const tally = new Tally(endpointId, rate)
  for (const item of items) tally.addItem(item)
  yield* output.one(tally.toJson(), tally.toText())
})
