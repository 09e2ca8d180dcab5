import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type { RunMain, Teardown } from "@effect/platform/Runtime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import process from "node:process"
import { isInterruption } from "../../internal/effect/cause.js"

/** What a shell gives for a program that a signal has ended: 128 and the signal's number. */
const statuses: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 130, SIGTERM: 143 }

/** Notes the first signal while a program runs; its teardown says with the status whether that has ended the program. */
const signalled = (): Teardown => {
  let status = 0
  const note = (signal: NodeJS.Signals) => void (status ||= statuses[signal] ?? 1)
  const signals = ["SIGINT", "SIGTERM"] as const
  for (const signal of signals) process.once(signal, note)
  return (exit, onExit) => {
    for (const signal of signals) process.removeListener(signal, note)
    if (Exit.isSuccess(exit)) onExit(0)
    else onExit(isInterruption(exit.cause) ? status : 1)
  }
}

export const runMain: RunMain = dual(
  (args) => Effect.isEffect(args[0]),
  <E, A>(effect: Effect.Effect<A, E>, options?: Parameters<RunMain>[1]): void =>
    NodeRuntime.runMain(effect, { ...options, teardown: options?.teardown ?? signalled() })
)
