import * as Effect from "effect/Effect"
import type { RunPodError } from "../../errors/RunPodError.js"
import { monotonicMillis } from "../pace/monotonic.js"

/** For how long an endpoint is asked with /status alone, once its server did not know /status-sync, in milliseconds. */
const withoutHolds = 10 * 60_000

/** Whether the server does not know the operation. RunPod says "not found" of a job or an endpoint. */
export const isUnknownPath = ({ detail = "", status }: RunPodError): boolean =>
  status === 405 || (status === 404 && !/(?:job|endpoint) not found/i.test(detail))

/** The endpoints whose servers know no held requests, such as gateways and stand-ins of RunPod. */
export class Holds {
  private readonly unknownUntil = new Map<string, number>()

  ask<A>(endpointId: string, held: Effect.Effect<A, RunPodError>, plain: Effect.Effect<A, RunPodError>) {
    return Effect.clockWith((clock) => {
      if (monotonicMillis(clock) < (this.unknownUntil.get(endpointId) ?? 0)) return plain
      const fallBack = Effect.tap(plain, () => {
        this.unknownUntil.set(endpointId, monotonicMillis(clock) + withoutHolds)
      })
      return Effect.catchAll(held, (error) => (isUnknownPath(error) ? fallBack : Effect.fail(error)))
    })
  }
}
