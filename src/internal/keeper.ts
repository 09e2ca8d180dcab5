import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { RunPodError } from "../errors/RunPodError.js"
import type * as Job from "../schemas/Job.js"
import type { RunRequest } from "../schemas/RunRequest.js"
import type { Scrub } from "./scrub.js"

/** What is done with the end of a submit whose owner was interrupted meanwhile. */
export type OnOrphan = (end: Exit.Exit<Job.Job, RunPodError>) => Effect.Effect<void>

/**
 * What a `RunPod` service does beyond its operations so that no job is lost: endpoints, handles and waits use it.
 */
export interface Keeper {
  /** `run`, but once handed to the transport it is not aborted by an interruption; `onOrphan` gets its end then. */
  readonly submit: (
    endpointId: string,
    request: RunRequest,
    options: { readonly resubmit?: boolean | undefined; readonly onOrphan: OnOrphan }
  ) => Effect.Effect<Job.Job, RunPodError>
  /** Whether a held status request would be sent at once. */
  readonly hasRoomToHold: (endpointId: string) => Effect.Effect<boolean>
  /** Starts work that outlives its caller; closing the layer waits for it. */
  readonly fork: <A>(effect: Effect.Effect<A>) => Effect.Effect<Fiber.RuntimeFiber<A>>
  /** Strikes out the API key. */
  readonly scrub: Scrub
}

export const KeeperKey: unique symbol = Symbol.for("effect-runpod/Keeper")

/** What the keeper of a foreign service needs of it. */
interface Runs {
  readonly run: (
    endpointId: string,
    request: RunRequest,
    options?: { readonly resubmit?: boolean }
  ) => Effect.Effect<Job.Job, RunPodError>
  readonly [KeeperKey]?: Keeper
}

/** The keeper of a service; for one that is not of our making, a keeper without a scope to close. */
export const keeperOf = (service: Runs): Keeper =>
  service[KeeperKey] ?? {
    submit: (endpointId, request, { onOrphan, resubmit }) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(
          Effect.forkDaemon(service.run(endpointId, request, resubmit === undefined ? {} : { resubmit })),
          (fiber) =>
            Effect.onInterrupt(restore(Effect.flatten(fiber.await)), () =>
              Effect.asVoid(Effect.forkDaemon(Effect.flatMap(fiber.await, onOrphan)))
            )
        )
      ),
    hasRoomToHold: () => Effect.succeed(true),
    fork: Effect.forkDaemon,
    scrub: (text) => text
  }
