import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { Heap, type Timed } from "../../../src/internal/pace/heap.js"

interface Entry extends Timed {
  readonly name: number
}

const entry = (at: number, name: number): Entry => ({ at, order: 0, index: -1, name })

const drain = (heap: Heap<Entry>): ReadonlyArray<number> => {
  const names: Array<number> = []
  for (let next = heap.peek(); next !== undefined; next = heap.peek()) {
    heap.remove(next)
    names.push(next.name)
  }
  return names
}

describe("Heap", () => {
  it("gives the earliest first, and those of the same time in the order they went in", () => {
    const heap = new Heap<Entry>()
    for (const [name, at] of [5, 3, 5, 1, 3, 1].entries()) heap.add(entry(at, name))
    assert.strictEqual(heap.size, 6)
    assert.deepStrictEqual(drain(heap), [3, 5, 1, 4, 0, 2])
    assert.strictEqual(heap.size, 0)
    assert.isUndefined(heap.peek())
  })

  it("does nothing when an entry is taken out twice, or was never in", () => {
    const heap = new Heap<Entry>()
    const first = entry(1, 1)
    heap.add(first)
    heap.add(entry(2, 2))
    heap.remove(first)
    heap.remove(first)
    heap.remove(entry(0, 3))
    assert.deepStrictEqual(drain(heap), [2])
  })

  it("takes an entry again, behind those of its time", () => {
    const heap = new Heap<Entry>()
    const first = entry(1, 1)
    heap.add(first)
    heap.add(entry(1, 2))
    heap.remove(first)
    heap.add(first)
    assert.deepStrictEqual(drain(heap), [2, 1])
  })

  it.prop(
    "behaves like a sorted list, whatever is added and taken out",
    {
      steps: FastCheck.array(
        FastCheck.oneof(
          { weight: 3, arbitrary: FastCheck.record({ at: FastCheck.integer({ min: 0, max: 9 }) }) },
          { weight: 2, arbitrary: FastCheck.record({ remove: FastCheck.nat() }) }
        ),
        { maxLength: 200, size: "max" }
      )
    },
    ({ steps }) => {
      const heap = new Heap<Entry>()
      let model: Array<Entry> = []
      for (const [name, step] of steps.entries()) {
        if ("at" in step) {
          const added = entry(step.at, name)
          heap.add(added)
          model.push(added)
          // A stable sort: ties stay in order.
          model.sort((a, b) => a.at - b.at)
        } else if (model.length > 0) {
          const removed = model[step.remove % model.length]!
          heap.remove(removed)
          model = model.filter((kept) => kept !== removed)
        }
        assert.strictEqual(heap.peek(), model[0])
        assert.strictEqual(heap.size, model.length)
      }
      assert.deepStrictEqual(
        drain(heap),
        model.map((kept) => kept.name)
      )
    }
  )
})
