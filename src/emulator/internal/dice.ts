import * as Hash from "effect/Hash"
import { PCGRandom } from "effect/Utils"

/** A seeded source of chance: the generator below Effect's `Random`, asked without an effect. */
export interface Dice {
  /** From 0 up to 1. */
  readonly fraction: () => number
  /** A whole number from `min` to `max`, both included. */
  readonly between: (min: number, max: number) => number
}

/** A stream of chance of its own for each `purpose`, so that one use does not shift the draws of another. */
export const make = (seed: number | string, purpose: string): Dice => {
  const random = new PCGRandom(Hash.hash(`${typeof seed}:${seed}:${purpose}`))
  return {
    fraction: () => random.number(),
    between: (min, max) => (max <= min ? min : min + Math.floor(random.number() * (max - min + 1)))
  }
}

const letters = "0123456789abcdefghijklmnopqrstuvwxyz"

const pick = (dice: Dice, alphabet: number, length: number): string => {
  let text = ""
  for (let i = 0; i < length; i++) text += letters[dice.between(0, alphabet - 1)]
  return text
}

/** A random UUID. */
export const uuid = (dice: Dice): string => {
  const variant = letters[8 + dice.between(0, 3)]
  return `${pick(dice, 16, 8)}-${pick(dice, 16, 4)}-4${pick(dice, 16, 3)}-${variant}${pick(dice, 16, 3)}-${pick(dice, 16, 12)}`
}

/** The id of a worker: 14 letters and digits. */
export const workerId = (dice: Dice): string => pick(dice, 36, 14)
