/** What a process writes about items, for all chunks that it drives: as `internal/appends.ts` of the package does it. */
import type { Drive } from "./drive.js"
import { Group } from "./group.js"
import type { Item } from "./lane.js"
import type { Runner } from "./runner.js"

interface Append {
  readonly drive: Drive
  readonly item: Item
}

export class Appends {
  private readonly decisions: Group<Append>
  private readonly facts: Group<Append>

  constructor(runner: Runner) {
    const { counts } = runner.world
    this.decisions = new Group(runner, {
      count: () => counts.intents++,
      commit: ({ drive, item }) => drive.intend(item),
      answered: ({ drive, item }, isWritten) => drive.onIntent(item, isWritten)
    })
    this.facts = new Group(runner, {
      count: () => counts.facts++,
      commit: ({ drive, item }) => (item.isEnding ? drive.settle(item) : drive.tellJob(item)),
      answered: ({ drive, item }, isWritten) => (item.isEnding ? drive.onSettled() : drive.onJobTold(item, isWritten))
    })
  }

  decide(drive: Drive, item: Item): void {
    this.decisions.add({ drive, item })
  }

  tell(drive: Drive, item: Item): void {
    this.facts.add({ drive, item })
  }
}
