import * as Duration from "effect/Duration"
import { isJsonObject, parseJson } from "../../../internal/text/json.js"
import { sha256 } from "../../../internal/text/sha256.js"
import type { RunPlan, SubmitPlan } from "../../plans.js"

/** What becomes of the submits of one endpoint. Plain state of one emulator, touched only synchronously. */
export class Plans {
  /** The plans that are left, by input; the last one stays. */
  private readonly left = new Map<number | string, Array<SubmitPlan>>()
  /** The inputs that have come, by their digests, in this order. */
  private readonly seen = new Map<string, number>()
  private readonly isHashed: boolean

  constructor(plans: ReadonlyArray<SubmitPlan>) {
    for (const plan of plans) {
      const same = this.left.get(plan.input)
      if (same === undefined) this.left.set(plan.input, [plan])
      else same.push(plan)
    }
    this.isHashed = plans.some(({ input }) => typeof input === "string")
  }

  /** Which input the body of a submit has. It counts as seen from now on. */
  inputOf(text: string | undefined): number | string | undefined {
    const body = text === undefined ? undefined : parseJson(text)
    if (!isJsonObject(body) || body["input"] === undefined) return undefined
    const digest = sha256(JSON.stringify(body["input"]))
    if (this.isHashed) return digest
    let number = this.seen.get(digest)
    if (number === undefined) this.seen.set(digest, (number = this.seen.size))
    return number
  }

  take(input: number | string): SubmitPlan | undefined {
    const left = this.left.get(input)
    const [plan] = left ?? []
    if (left === undefined || plan === undefined) return undefined
    if (left.length > 1) left.shift()
    // The last job may be submitted again, but its submit goes wrong only once.
    else left[0] = { ...plan, fault: undefined, delay: undefined }
    return plan
  }
}

/** The run of a planned job that begins when it has been retried so often. */
export const runOf = (plan: SubmitPlan | undefined, retried: number): RunPlan | undefined =>
  plan?.runs?.[Math.min(retried, plan.runs.length - 1)]

/** Whether a job of this age, in milliseconds, can be found. */
export const isFound = (plan: SubmitPlan | undefined, age: number): boolean => {
  const { from = 0, until = Infinity } = plan?.found ?? {}
  return age >= Duration.toMillis(from) && age < Duration.toMillis(until)
}
