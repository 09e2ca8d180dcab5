/** A source as a stream of server-sent events, which ends with the dashboard. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { Begin, Sample } from "../Api.js"
import type { Watched } from "./sampler.js"

const heartbeat = Duration.seconds(5)

/**
 * The name of one life of a server. It is random, and begins with the time in case the program's `Random` gives the same numbers after each
 * start.
 */
export const makeLife: Effect.Effect<string> = Effect.map(
  Effect.all([Clock.currentTimeMillis, Random.next, Random.next]),
  ([at, ...random]) => [at, ...random.map((n) => Math.floor(n * 2 ** 32))].map((n) => n.toString(36)).join("")
)

/** Where a client wants a stream to begin. */
export interface Position {
  /** The life of the server that is asked: the ids of its events begin with it. */
  readonly life: string
  /** The id of the event that the client has seen last; missing where it has seen none. */
  readonly lastSeen: string | undefined
}

/**
 * The `seq` after which the stream goes on. It is 0, the beginning of the history, if the id is of another life of the server, or if this server
 * has not given it.
 */
export const seqAfter = ({ lastSeen = "", life }: Position, newest: number): number => {
  const [, ofLife, digits] = /^([0-9a-z]+)-(\d{1,15})$/.exec(lastSeen) ?? []
  const seq = Number(digits)
  return ofLife === life && seq <= newest ? seq : 0
}

const eventOf = ({ data, id, name }: { readonly name: string; readonly id: string; readonly data: Begin | Sample }) =>
  `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`

const beats = Stream.repeatEffectWithSchedule(Effect.succeed("event: alive\ndata: {}\n\n"), Schedule.spaced(heartbeat))

/** First where it begins, then the samples that the client has not seen, and those to come. */
export const eventsOf = ({ history, sampled }: Watched, position: Position) => {
  const { life } = position
  const events = Stream.unwrapScoped(
    // Subscribed before the history is read: no sample falls between.
    Effect.map(Stream.fromPubSub(sampled, { scoped: true }), (readings) => {
      let last = seqAfter(position, history.at(-1)?.seq ?? 0)
      const begin: Begin = { life, after: last, heartbeat: Duration.toMillis(heartbeat) }
      // From the history, which keeps what came while the client was slow.
      const unseen = () => {
        const samples = history.filter(({ seq }) => seq > last)
        last = samples.at(-1)?.seq ?? last
        return samples.map((data) => eventOf({ name: "sample", id: `${life}-${data.seq}`, data }))
      }
      const samples = Stream.mapConcat(Stream.concat(Stream.succeed(undefined), readings), unseen)
      return Stream.concat(
        Stream.succeed(`retry: 1000\n${eventOf({ name: "begin", id: `${life}-${last}`, data: begin })}`),
        Stream.merge(samples, beats, { haltStrategy: "left" })
      )
    })
  )
  return Stream.encodeText(events)
}
