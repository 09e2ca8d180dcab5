/** A process that fills a webhook store and a journal until the disk is full, and says what was acknowledged. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Effect from "effect/Effect"
import * as WebhookStore from "../../src/layers/WebhookStore.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import { delivery, settled } from "./records.js"

const folder = process.argv[2] ?? ""

const program = Effect.gen(function* () {
  const store = yield* WebhookStore.file(`${folder}/webhooks.jsonl`)
  const journal = yield* BatchJournal.file(`${folder}/journal.jsonl`)
  const ends: Array<{ readonly stored: string; readonly noted: string }> = []
  for (let n = 1; n <= 20; n++) {
    const stored = yield* Effect.either(store.add(delivery(n)))
    const noted = yield* Effect.either(journal.append(settled(n)))
    ends.push({
      stored: stored._tag === "Right" ? stored.right._tag : stored.left._tag,
      noted: noted._tag === "Right" ? "Noted" : noted.left.reason
    })
  }
  const visible = yield* store.after(0, 100)
  const latest = yield* store.latest
  const said = { ends, visible: visible.map(({ jobId }) => jobId), latest }
  process.stdout.write(JSON.stringify(said))
})

void Effect.runPromise(Effect.provide(Effect.scoped(program), NodeFileSystem.layer))
