import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import type { TestOptions } from "vitest"
import * as VirtualTime from "./virtualTime.js"

/** `it.effect` for what runs many fibers: its clock is virtual time, where `VirtualTime.advance` is what `TestClock.adjust` is. */
export const inVirtualTime = <A, E>(name: string, body: () => Effect.Effect<A, E>, options?: TestOptions) =>
  it.live(
    name,
    () => Effect.provide(VirtualTime.run(Effect.suspend(body)), Logger.remove(Logger.defaultLogger)),
    options
  )
