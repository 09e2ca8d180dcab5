import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { type Lease, PermitStoreError, type Request, type Service } from "../../PermitStore.js"
import type * as Redis from "../../Redis.js"
import { boundedMillis } from "../durations.js"
import { script } from "./script.js"

const Answer = Schema.parseJson(
  Schema.Union(
    Schema.Struct({ generation: Schema.String, asks: Schema.Literal(true) }),
    Schema.Struct({
      generation: Schema.String,
      granted: Schema.Number,
      retryAfter: Schema.Number,
      /** -1 for any number. */
      places: Schema.Number,
      free: Schema.Number,
      holders: Schema.Number
    })
  )
)
const decode = Schema.decodeUnknown(Answer)

/** What Redis or the system says, as a word: its messages may quote what was sent. */
const errorOf = (cause: unknown): PermitStoreError => {
  const code = hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : undefined
  const text = cause instanceof Error ? /^[A-Z]{2,}(?= )/.exec(cause.message)?.[0] : undefined
  return new PermitStoreError({ detail: code ?? text ?? "Redis is not connected" })
}

const isUnknownScript = (cause: unknown): boolean => cause instanceof Error && cause.message.startsWith("NOSCRIPT")

const numberOf = (n: number): number => (n === -1 ? Infinity : n)

export const make = (
  client: Redis.Client,
  { prefix = "{runpod:permits}:", settle = "3 seconds" }: Redis.Options
): Effect.Effect<Service> =>
  Effect.sync(() => {
    const settleMillis = boundedMillis("settle", settle, 0)
    let sha: string | undefined
    /** The generation that each pool was last found in. */
    const seen = new Map<string, string>()

    const call = (command: string, ...args: ReadonlyArray<string>) =>
      Effect.tryPromise({ try: () => client.call(command, ...args), catch: (cause) => cause })

    const load = Effect.map(call("SCRIPT", "LOAD", script), (loaded) => (sha = String(loaded)))

    const run = (pool: string, argument: object): Effect.Effect<unknown, unknown> => {
      const evaluate = (digest: string) =>
        call("EVALSHA", digest, "2", `${prefix}${pool}`, `${prefix}mark`, JSON.stringify(argument))
      const known = sha === undefined ? load : Effect.succeed(sha)
      return Effect.catchIf(Effect.flatMap(known, evaluate), isUnknownScript, () => Effect.flatMap(load, evaluate))
    }

    const ask = (request: Request, tellsAll: boolean): Effect.Effect<Lease, PermitStoreError> =>
      Effect.suspend(() => {
        const { holder, known, pool, unsaved, window, ...rest } = request
        // Holders of one program ask by themselves.
        const asker = `${pool} ${holder}`
        return run(pool, {
          ...rest,
          ...window,
          holder,
          unsaved: tellsAll ? known() : unsaved,
          all: tellsAll,
          generation: seen.get(asker),
          mark: crypto.randomUUID(),
          settle: settleMillis
        }).pipe(
          Effect.mapError(errorOf),
          Effect.flatMap((answer) =>
            Effect.mapError(
              decode(answer),
              () => new PermitStoreError({ detail: "its answer cannot be read: something else uses its keys" })
            )
          ),
          Effect.flatMap((answer) => {
            if ("asks" in answer) return ask(request, true)
            const { free, generation, places, ...lease } = answer
            seen.set(asker, generation)
            return Effect.succeed({ ...lease, free: numberOf(free), places: numberOf(places) })
          })
        )
      })

    return { lease: (request) => ask(request, false) }
  })

/** A question of nobody: a Redis that remembers nothing begins to settle with it, before the first request needs it. */
const greeting: Request = {
  pool: "greeting",
  holder: "",
  window: undefined,
  places: undefined,
  wanted: undefined,
  demand: 0,
  inFlight: 0,
  ttl: 1_000,
  unsaved: [],
  known: () => []
}

/** Whether `ioredis` makes something of it: where it does not, it connects elsewhere, or throws where nobody catches it. */
const isAddress = (url: string): boolean => {
  try {
    const { password, pathname, protocol, username } = new URL(url)
    decodeURIComponent(username + password)
    return /^rediss?:$/.test(protocol) && /^(?:\/\d*\/?)?$/.test(pathname)
  } catch {
    return false
  }
}

/** How long a layer waits for its first connection. */
const firstConnection = Duration.seconds(2)
/** How long a command may stay without an answer, in milliseconds. */
const longestSilence = 5_000

export const connect = ({ url, ...options }: Redis.ConnectOptions): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function* () {
    const address = Redacted.isRedacted(url) ? Redacted.value(url) : url
    if (!isAddress(address)) {
      throw new RangeError(
        "the `url` of Redis is not `redis://` or `rediss://`, a host, and a whole number as its database at most"
      )
    }
    // The names of a CommonJS module are lost where a bundler has it in a chunk of its own: what it exports as a whole is not.
    const { Redis: Client } = yield* Effect.promise(() => import("ioredis").then((module) => module.default))
    const client = yield* Effect.acquireRelease(
      Effect.sync(
        () =>
          new Client(address, {
            lazyConnect: true,
            enableOfflineQueue: false,
            maxRetriesPerRequest: 0,
            // A connection that is dead without a word is made anew.
            socketTimeout: longestSilence,
            // Soon enough to tell a Redis that has lost its memory what it was, before others get starts again.
            retryStrategy: (times) => Math.min(20 * 2 ** times, 250)
          })
      ),
      (client) => Effect.sync(() => client.disconnect())
    )
    // Each command that is not answered says so itself.
    client.on("error", () => undefined)
    const store = yield* make(client, options)
    yield* Effect.ignore(
      Effect.timeout(
        Effect.tryPromise(() => client.connect()).pipe(Effect.zipRight(store.lease(greeting))),
        firstConnection
      )
    )
    return store
  })
