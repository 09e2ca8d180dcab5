import * as Schema from "effect/Schema"
import { formatUsd } from "../internal/text/excerpt.js"
import { refused, requestError } from "./requestError.js"

/** Where a budget stands, in USD. */
export const budgetFields = {
  /** The budget. */
  maxCost: Schema.Number,
  /** What jobs that have ended cost, at the rates of `Cost`. */
  spent: Schema.Number,
  /** What the jobs in flight may add. */
  inFlight: Schema.Number,
  /** What one more may cost. */
  next: Schema.Number
}

export const budgetSays = (budget: Schema.Struct.Type<typeof budgetFields>): string => {
  const { inFlight, maxCost, next, spent } = budget
  return `${formatUsd(spent)} of ${formatUsd(maxCost)} were spent, jobs in flight may add ${formatUsd(inFlight)}, and the next may cost ${formatUsd(next)}`
}

/** What no budget bounds, for messages. */
export const unbounded = "Workers that start or wait for work cost more, which no budget bounds."

/**
 * The budget of the layer (`maxCost` of `Cost.layer`) has no room for a further job; nothing was sent. Amounts are in USD.
 *
 * @since 0.1.0
 * @category errors
 */
export class BudgetExceededError extends requestError<BudgetExceededError>()(
  "BudgetExceededError",
  refused,
  budgetFields,
  (budget) => [
    `the budget has no room for it, and it was not sent: ${budgetSays(budget)}`,
    `Wait until jobs in flight have ended, or raise \`maxCost\` of \`Cost.layer\`. ${unbounded}`
  ]
) {}
