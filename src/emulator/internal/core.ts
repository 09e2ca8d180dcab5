import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as RateLimits from "../../layers/RateLimits.js"
import type { Deliver, Options, Service } from "../contract.js"
import * as Control from "./control.js"
import { Counters } from "./counters.js"
import { Faults } from "./faults.js"
import * as Limits from "./http/limits.js"
import type { HttpRequest, Transmission } from "./http/messages.js"
import * as RequestHandler from "./http/requestHandler.js"
import { Batches } from "./jobs/batches.js"
import * as Jobs from "./jobs/makeModel.js"
import * as Deliveries from "./webhooks/deliveries.js"

/** An emulator that needs a way for requests to reach it: memory or a server. */
export interface Core {
  readonly handle: (request: HttpRequest) => Effect.Effect<Transmission>
  readonly control: Service
}

/** `deliver` is how webhooks are delivered when the options do not say it. */
export const make = Effect.fnUntraced(function* (
  options: Options,
  deliver: Deliver
): Effect.fn.Return<Core, never, Scope.Scope> {
  const { endpoints, seed = 0 } = options
  const counters = new Counters()
  const faults = new Faults(options.faults ?? [], seed, counters)
  const onEnd = yield* Deliveries.make({ deliver: options.deliver ?? deliver, faults, counters })
  const model = yield* Jobs.make({ endpoints, seed, counters, onEnd })
  const parts: RequestHandler.Parts = {
    model,
    batches: new Batches(model, seed, (endpointId) => faults.forJob("run", endpointId)),
    faults,
    limits: Limits.make(options.limits ?? { operations: RateLimits.table }),
    counters,
    apiKey: Redacted.isRedacted(options.apiKey) ? Redacted.value(options.apiKey) : options.apiKey
  }
  return { handle: (request) => RequestHandler.handle(parts, request), control: Control.make(parts) }
})
