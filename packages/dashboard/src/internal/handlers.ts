import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { ActionFailed, api, Authorization, NotFound, Unauthorized } from "../Api.js"
import { eventsOf } from "./events.js"
import { isSame } from "./security.js"
import type { Watched } from "./sampler.js"

/** A window of the list of jobs has so many rows at most. */
const largestWindow = 500

export type All = ReadonlyMap<string, Watched>

const find = (all: All, name: string): Effect.Effect<Watched, NotFound> => {
  const found = all.get(name)
  return found === undefined
    ? Effect.fail(new NotFound({ message: "There is no such source." }))
    : Effect.succeed(found)
}

export const view = ({ all, life }: { readonly all: All; readonly life: string }) =>
  HttpApiBuilder.group(api, "view", (handlers) =>
    handlers
      .handle("sources", () =>
        Effect.succeed(
          [...all.values()].map(({ source: { actions, payload, ...source } }) => ({
            name: source.name,
            kind: source.kind,
            endpointId: source.endpointId,
            resume: source.resume,
            actions: [
              ...(["cancel", "retry", "setWorkers", "setFaults"] as const).filter(
                (name) => actions[name] !== undefined
              ),
              ...(payload === undefined ? [] : (["payload"] as const))
            ],
            faults: Object.keys(actions.faults ?? {})
          }))
        )
      )
      .handle("history", ({ urlParams }) => Effect.map(find(all, urlParams.source), ({ history }) => history))
      .handle("summary", ({ urlParams }) =>
        Effect.map(find(all, urlParams.source), ({ index, source }) =>
          index.summary(source.cost?.budget?.state(source.endpointId ?? ""))
        )
      )
      .handle("jobs", ({ urlParams: { limit = 100, offset = 0, source, ...query } }) =>
        Effect.map(find(all, source), ({ index }) => {
          const jobs = index.list(query)
          const size = Math.min(limit, largestWindow)
          return { total: jobs.length, version: index.version, jobs: jobs.slice(offset, offset + size) }
        })
      )
      .handle("job", ({ urlParams }) =>
        Effect.gen(function* () {
          const { index, source } = yield* find(all, urlParams.source)
          const job = index.get(urlParams.id)
          if (job === undefined) return yield* new NotFound({ message: "There is no such job." })
          const events = source.events === undefined ? [] : yield* source.events(urlParams.id)
          return { job, events }
        })
      )
      .handleRaw("events", ({ urlParams }) =>
        Effect.gen(function* () {
          const watched = yield* find(all, urlParams.source)
          const request = yield* HttpServerRequest.HttpServerRequest
          // The header is newer: a browser that connects again by itself asks for the same address.
          const lastSeen = request.headers["last-event-id"] ?? urlParams.after
          return HttpServerResponse.stream(eventsOf(watched, { life, lastSeen }), { contentType: "text/event-stream" })
        })
      )
  )

/** Does an action of a source, where it has it. */
const perform = <A, B>(
  name: string,
  action: ((argument: A) => Effect.Effect<B, string>) | undefined,
  argument: A
): Effect.Effect<B, ActionFailed> =>
  action === undefined
    ? Effect.fail(new ActionFailed({ message: `This source has no ${name}.` }))
    : Effect.mapError(action(argument), (message) => new ActionFailed({ message }))

export const actions = (all: All) => {
  const done = { done: true }
  return HttpApiBuilder.group(api, "actions", (handlers) =>
    handlers
      .handle("token", () => Effect.succeed(done))
      .handle("payload", ({ payload: { id, source: name } }) =>
        Effect.gen(function* () {
          const { index, source } = yield* find(all, name)
          const found = yield* perform("inputs and outputs", source.payload, index.get(id)?.jobId ?? id)
          return yield* Option.match(found, {
            onNone: () => Effect.fail(new NotFound({ message: "The job is not there any more." })),
            onSome: Effect.succeed
          })
        })
      )
      .handle("cancel", ({ payload: { id, source: name } }) =>
        Effect.flatMap(find(all, name), ({ source }) => Effect.as(perform("cancel", source.actions.cancel, id), done))
      )
      .handle("retry", ({ payload: { id, source: name } }) =>
        Effect.flatMap(find(all, name), ({ source }) => Effect.as(perform("retry", source.actions.retry, id), done))
      )
      .handle("workers", ({ payload: { max, source: name } }) =>
        Effect.flatMap(find(all, name), ({ source }) =>
          Effect.as(perform("switch for workers", source.actions.setWorkers, max), done)
        )
      )
      .handle("faults", ({ payload: { names, source: name } }) =>
        Effect.flatMap(find(all, name), ({ source }) =>
          Effect.as(perform("switches for faults", source.actions.setFaults, names), done)
        )
      )
  )
}

export const authorization = (token: Redacted.Redacted): Layer.Layer<Authorization> =>
  Layer.succeed(Authorization, {
    token: (given) =>
      isSame(Redacted.value(given), Redacted.value(token))
        ? Effect.void
        : Effect.fail(
            new Unauthorized({ message: "Open the page with the address that was printed, which has the token." })
          )
  })
