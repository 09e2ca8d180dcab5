/** How the inputs of a batch are written. Apart from `inputs.ts`, which help does without. */
export const inputFormats = ["jsonl", "csv"] as const

export type InputFormat = (typeof inputFormats)[number]
