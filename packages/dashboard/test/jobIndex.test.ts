/** What the jobs of a source come to. */
import { describe, expect, it } from "@effect/vitest"
import type { Job } from "effect-runpod-dashboard/Source"
import { JobIndex } from "../src/internal/jobIndex.js"

const job = (id: string, more: Partial<Job> = {}): Job => ({ id, status: "COMPLETED", executionTime: 1_000, ...more })

const costOf = (jobs: ReadonlyArray<Job>, rate?: (job: Job) => number | undefined) => {
  const index = new JobIndex(rate)
  index.apply({ cursor: 1, isReset: false, jobs, removed: [] })
  return index.summary(undefined).cost
}

describe("the cost of a source's jobs", () => {
  const second = ({ executionTime }: Job) => executionTime && executionTime / 1_000

  it("is not known without rates", () => {
    expect(costOf([job("1"), job("2")])).toEqual({ unpriced: 2 })
    expect(costOf([])).toEqual({ unpriced: 0 })
  })

  it("is not known where none of the workers has a rate", () => {
    expect(costOf([job("1"), job("2", { status: "CANCELLED", executionTime: undefined })], () => undefined)).toEqual({
      unpriced: 1
    })
  })

  it("leaves jobs on workers without a rate out, and expects of the others what those before have cost", () => {
    const jobs = [
      job("1"),
      job("2", { status: "FAILED", executionTime: 3_000 }),
      job("3", { workerId: "unknown" }),
      job("4", { status: "IN_QUEUE", executionTime: undefined })
    ]
    const rate = (of: Job) => (of.workerId === "unknown" ? undefined : second(of))
    expect(costOf(jobs, rate)).toEqual({ spent: 4, wasted: 3, expected: 6, unpriced: 1 })
  })

  it("is nothing before a job has been on a worker", () => {
    expect(costOf([job("1", { status: "IN_QUEUE", executionTime: undefined })], second)).toEqual({
      spent: 0,
      wasted: 0,
      unpriced: 0
    })
  })
})
