import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as JournalEntry from "../../schemas/JournalEntry.js"
import type { BatchJournal } from "../../services/BatchJournal.js"
import { JournalOwner } from "./journalOwner.js"

const stateOf = (entry: JournalEntry.Entry): JournalEntry.State =>
  entry._tag === "Settled" ? { _tag: "Settled", key: entry.key, hash: entry.hash } : entry

export const memory = (): BatchJournal => {
  const owner = new JournalOwner()
  const entries = new Map<string, JournalEntry.Entry>()
  return {
    begin: (endpointId) => owner.begin(endpointId, Effect.void),
    find: (key) => Effect.sync(() => Option.map(Option.fromNullable(entries.get(key)), stateOf)),
    outcome: (key) =>
      Effect.sync(() => {
        const entry = entries.get(key)
        return entry?._tag === "Settled" ? Option.some(entry) : Option.none()
      }),
    submitted: Effect.sync(() => Array.from(entries.values()).filter((entry) => entry._tag === "Submitted")),
    append: (entry) => Effect.sync(() => void entries.set(entry.key, entry))
  }
}
