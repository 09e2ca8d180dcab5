/** The starts of a process, and what a store knows of them, whenever its questions get there. */
import { assert, describe, it } from "@effect/vitest"
import type { PermitStore } from "effect-runpod-cluster"
import { leaseIn, noState } from "../src/internal/permits/lease.js"
import { Starts } from "../src/internal/permits/starts.js"
import { request } from "./support/requests.js"

const make = (window = 10_000) => {
  const starts = new Starts({ limit: 100, window, hold: 200, isHeld: false })
  let state = noState
  const question = (at: number, wanted?: PermitStore.Block) =>
    request({ window: starts.window, wanted, unsaved: starts.unsaved(at), known: () => starts.known(at) })
  const arrives = (asked: PermitStore.Request, at: number) => {
    const { lease, state: next } = leaseIn(state, asked, at)
    state = next
    return lease
  }
  /** A question that is answered at once. */
  const tell = (at: number, wanted?: PermitStore.Block) => {
    const lease = arrives(question(at, wanted), at)
    starts.saved()
    if (wanted !== undefined) starts.granted(wanted.id, lease.granted, at)
    return lease
  }
  return {
    starts,
    question,
    arrives,
    tell,
    /** Ten, which are taken at once. */
    take: (at: number) => {
      tell(at, starts.wanted(10, at))
      for (let i = 0; i < 10; i++) assert.isTrue(starts.take(at))
    },
    answer: (count: number, startedAt: number, at: number) => {
      for (let i = 0; i < count; i++) starts.answered(startedAt, at)
    },
    count: (at: number) => starts.known(at).reduce((sum, { count }) => sum + count, 0)
  }
}

describe("the starts of a process", () => {
  it("count for no less in the store, also when an older question gets there behind a newer one", () => {
    const { answer, arrives, count, question, take, tell } = make()
    take(0)
    take(10)
    answer(5, 11, 160)
    const late = question(160)
    answer(5, 11, 165)
    answer(5, 1, 170)
    tell(170)
    arrives(late, 180)
    assert.strictEqual(count(200), 20)
    assert.isAtLeast(100 - tell(1_180).free, 20)
  })

  it("that were given back are so for a store that asks for all there is", () => {
    const { arrives, starts, tell } = make()
    tell(0, starts.wanted(10, 0))
    starts.giveUpSurplus(200, false)
    assert.isNotEmpty(starts.unsaved(200))
    arrives(request({ window: starts.window, unsaved: starts.known(200) }), 200)
    starts.saved()
    assert.strictEqual(tell(1_200).free, 100)
  })

  it("count from their answers on, those that come behind the window, too", () => {
    const { answer, count, take } = make()
    take(0)
    assert.strictEqual(count(10_100), 0)
    answer(10, 0, 10_400)
    assert.strictEqual(count(10_400), 10)
    assert.strictEqual(count(20_300), 10)
    assert.strictEqual(count(20_400), 0)
  })

  it("are in no block that has left a window which is short", () => {
    const { answer, count, take } = make(100)
    take(0)
    answer(1, 0, 10)
    take(90)
    answer(10, 90, 160)
    assert.strictEqual(count(170), 10)
  })
})
