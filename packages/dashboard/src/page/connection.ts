/** The connection of the page to its server, as a table of states and events. `stream.ts` does what it says. */

export type State =
  /** There is no stream. After a pause one is asked for. */
  | {
      readonly _tag: "Waiting"
      readonly life: string | undefined
      /** How many attempts in a row have failed. */
      readonly failures: number
      readonly since: number
    }
  /** A stream was asked for, and has not begun. */
  | {
      readonly _tag: "Connecting"
      readonly life: string | undefined
      readonly failures: number
      readonly since: number
    }
  /** The stream has begun, and events come. */
  | {
      readonly _tag: "Live"
      /** The life of the server: another one knows nothing of what the page has shown so far. */
      readonly life: string
      /** How often something comes at the least, in milliseconds. */
      readonly heartbeat: number
      readonly heardAt: number
    }

/** `at` is milliseconds since 1970: other clocks of a browser may stop while the machine sleeps. */
export type Event =
  | { readonly _tag: "Begun"; readonly at: number; readonly life: string; readonly heartbeat: number }
  /** A sample, or a sign that the server is there. */
  | { readonly _tag: "Heard"; readonly at: number }
  /** The stream has ended, or could not be had. */
  | { readonly _tag: "Failed"; readonly at: number }
  /** Once a second, but rarer while the page is hidden, and not while the machine sleeps. */
  | { readonly _tag: "Ticked"; readonly at: number }
  /** The page is seen again, or the machine has a network again. */
  | { readonly _tag: "Woken"; readonly at: number }
  /** Another source is to be followed. */
  | { readonly _tag: "Turned"; readonly at: number }

export type Command =
  /** Close the stream, if there is one, and ask for another. */
  | "Connect"
  /** Close the stream. */
  | "Close"
  /** Forget all that the server before has sent, and ask this one for everything. */
  | "Renew"

export const initial: State = { _tag: "Waiting", life: undefined, failures: 0, since: 0 }

/** How long there is no attempt after so many have failed. */
const pauseOf = (failures: number) => Math.min(5_000, 500 * 2 ** failures)
/**
 * How long one may take until its stream begins. A browser keeps up to six connections to a server, and asks over one of them: when a machine has
 * slept, they may all have ended without the browser knowing it. What gets no answer over one is asked over the next.
 */
const patienceOf = (failures: number) => (failures < 6 ? 3_000 : 30_000)

/** A clock that was set back says nothing of how much time has passed: enough. */
const hasPassed = (span: number, { since, at }: { readonly since: number; readonly at: number }) =>
  at < since || at - since >= span

type Step = readonly [State, ReadonlyArray<Command>]
type In<Tag extends State["_tag"]> = Extract<State, { readonly _tag: Tag }>

const connect = (life: string | undefined, { failures, since }: { failures: number; since: number }): Step => [
  { _tag: "Connecting", life, failures, since },
  ["Connect"]
]

const waiting = (state: In<"Waiting">, event: Event): Step => {
  const { failures, life, since } = state
  const { _tag, at } = event
  const isTime = _tag === "Woken" || (_tag === "Ticked" && hasPassed(pauseOf(failures), { since, at }))
  // There is no stream that begins, is heard or fails.
  return isTime ? connect(life, { failures, since: at }) : [state, []]
}

const connecting = (state: In<"Connecting">, event: Event): Step => {
  const { failures, life, since } = state
  const { at } = event
  switch (event._tag) {
    case "Begun":
      return [
        { _tag: "Live", life: event.life, heartbeat: event.heartbeat, heardAt: at },
        event.life === life ? [] : ["Renew"]
      ]
    case "Failed":
      return [{ _tag: "Waiting", life, failures: failures + 1, since: at }, ["Close"]]
    case "Ticked":
    case "Woken":
      return hasPassed(patienceOf(failures), { since, at })
        ? connect(life, { failures: failures + 1, since: at })
        : [state, []]
    default:
      return [state, []]
  }
}

const live = (state: In<"Live">, event: Event): Step => {
  const { heardAt, heartbeat, life } = state
  const { at } = event
  const unlessHeard = (beats: number): Step =>
    hasPassed(beats * heartbeat, { since: heardAt, at }) ? connect(life, { failures: 0, since: at }) : [state, []]
  switch (event._tag) {
    case "Heard":
      return [{ ...state, heardAt: at }, []]
    case "Failed":
      return [{ _tag: "Waiting", life, failures: 0, since: at }, ["Close"]]
    case "Ticked":
      return unlessHeard(3)
    case "Woken":
      // Somebody looks at the page: what it shows may be old, and the connection one that ended while the machine slept.
      return unlessHeard(1.5)
    default:
      return [state, []]
  }
}

/** What an event makes of the connection, and what is to be done then. */
export const next = (state: State, event: Event): Step => {
  if (event._tag === "Turned") return connect(state.life, { failures: 0, since: event.at })
  switch (state._tag) {
    case "Waiting":
      return waiting(state, event)
    case "Connecting":
      return connecting(state, event)
    case "Live":
      return live(state, event)
  }
}
