import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { BatchJournalError } from "../../errors/BatchError.js"
import { defined } from "../text/json.js"

/** The endpoint a journal belongs to, and whether a run has it. Plain state of one journal, touched only synchronously. */
export class JournalOwner {
  endpointId: string | undefined
  private isTaken = false

  constructor(private readonly file?: string) {}

  /** Takes the journal for a run, until the scope closes; `bind` writes the endpoint of a new one down. */
  begin(
    endpointId: string,
    bind: Effect.Effect<void, BatchJournalError>
  ): Effect.Effect<void, BatchJournalError, Scope.Scope> {
    const giveBack = Effect.sync(() => {
      this.isTaken = false
    })
    const take = Effect.suspend(() => {
      const refusal = this.refusalOf(endpointId)
      if (refusal !== undefined) return Effect.fail(refusal)
      this.isTaken = true
      if (this.endpointId !== undefined) return Effect.void
      const bound = Effect.map(bind, () => {
        this.endpointId = endpointId
      })
      return Effect.onError(bound, () => giveBack)
    })
    return Effect.acquireRelease(take, () => giveBack)
  }

  private refusalOf(endpointId: string): BatchJournalError | undefined {
    const file = defined({ file: this.file })
    if (this.isTaken) {
      const detail = "another run of this process uses it. Wait for its end, or give each batch a journal of its own."
      return new BatchJournalError({ reason: "Locked", ...file, detail })
    }
    if (this.endpointId === undefined || this.endpointId === endpointId) return undefined
    const detail = `it belongs to a batch on endpoint ${this.endpointId}, and this one is on ${endpointId}. Give another journal.`
    return new BatchJournalError({ reason: "WrongEndpoint", ...file, detail })
  }
}
