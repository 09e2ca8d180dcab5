import * as Hash from "effect/Hash"
import { PCGRandom } from "effect/Utils"

/** The generator below Effect's `Random`, read without an effect. One for each `purpose`: no draw shifts those of another. */
export const make = (seed: number | string, purpose: string) => {
  const random = new PCGRandom(Hash.hash(`${typeof seed}:${seed}:${purpose}`))
  return {
    /** From 0 up to 1. */
    fraction: () => random.number(),
    /** A whole number from `min` to `max`, both included. */
    between: (min: number, max: number) => (max <= min ? min : min + Math.floor(random.number() * (max - min + 1)))
  }
}

export type RandomSource = ReturnType<typeof make>

const letters = "0123456789abcdefghijklmnopqrstuvwxyz"

const pick = (random: RandomSource, alphabet: number, length: number): string => {
  let text = ""
  for (let i = 0; i < length; i++) text += letters[random.between(0, alphabet - 1)]
  return text
}

export const uuid = (random: RandomSource): string => {
  const variant = letters[8 + random.between(0, 3)]
  return `${pick(random, 16, 8)}-${pick(random, 16, 4)}-4${pick(random, 16, 3)}-${variant}${pick(random, 16, 3)}-${pick(random, 16, 12)}`
}

export const workerId = (random: RandomSource): string => pick(random, 36, 14)
