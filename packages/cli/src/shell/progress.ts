import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import process from "node:process"
import * as Line from "./line.js"
import { toJson } from "./output.js"
import { print } from "./terminal.js"

export const modes = ["auto", "plain", "jsonl", "none"] as const

/** How progress is shown on stderr. `auto`: one line that changes on a terminal, else as `plain`: lines, not too many. */
export type Mode = (typeof modes)[number]

/** How often a plain line of the same kind is written at most, in milliseconds. */
const plainInterval = 10_000

/** Tells on stderr how far a command is. */
export interface Service {
  readonly mode: Mode
  /** How far it is. `isNews`: a line that must not be left out, whatever was written just now. */
  readonly update: (text: string, value: Readonly<Record<string, unknown>>, isNews?: boolean) => Effect.Effect<void>
}

export class Progress extends Context.Tag("effect-runpod-cli/Progress")<Progress, Service>() {}

/** Writes a line to stderr, below the one that changes. */
export const say = (text: string): void => {
  Line.leave()
  print(process.stderr, `${text}\n`)
}

const make = (mode: Mode): Service => {
  let writtenAt = -Infinity
  const plainly = (text: string, isNews: boolean) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      if (!isNews && now - writtenAt < plainInterval) return
      writtenAt = now
      say(text)
    })
  return {
    mode,
    update: (text, value, isNews = false) => {
      if (mode === "none") return Effect.void
      if (mode === "jsonl") return Effect.sync(() => say(toJson(value)))
      if (mode === "plain" || !process.stderr.isTTY) return plainly(text, isNews)
      return Effect.sync(() => Line.draw(text, isNews))
    }
  }
}

/** Leaves the line that changes at the end. */
export const layer = (mode: Mode): Layer.Layer<Progress> =>
  Layer.scoped(
    Progress,
    Effect.acquireRelease(
      Effect.sync(() => make(mode)),
      () => Effect.sync(() => Line.leave())
    )
  )
