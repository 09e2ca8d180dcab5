/** What the server sends of the source that the page shows, as long as the page is open. `connection.ts` says what is to be done when. */
import { computed, effect } from "@preact/signals"
import type { Begin, Sample, Summary } from "../Api.js"
import * as Connection from "./connection.js"
import * as State from "./state.js"
import { check } from "./token.js"

/** So many samples are shown. */
const kept = 600
/** Samples that come within so many milliseconds are drawn together: a stream begins with up to `kept`. */
const together = 20

let connection = Connection.initial
/** The attempt to connect, or the connection, that counts: what is still to come of one before does nothing. */
let attempt = new AbortController()
let events: EventSource | undefined
/** The id of the event that was seen last. */
let lastSeen = ""
let arrived: Array<Sample> = []
const summaries = { asked: 0, answered: 0 }
const name = computed(() => State.source.value?.name)

const dispatch = (event: Connection.Event) => {
  const [state, commands] = Connection.next(connection, event)
  connection = state
  State.isConnected.value = state._tag === "Live"
  for (const command of commands) perform[command]()
}

const now = () => Date.now()
const fail = () => dispatch({ _tag: "Failed", at: now() })

const draw = () => {
  const { samples } = State
  const last = State.newest.value?.seq ?? 0
  samples.value = [...samples.value, ...arrived.filter(({ seq }) => seq > last)].slice(-kept)
  arrived = []
}

const forget = () => {
  lastSeen = ""
  arrived = []
  State.samples.value = []
  State.summary.value = undefined
}

const close = () => {
  attempt.abort()
  attempt = new AbortController()
  events?.close()
  events = undefined
}

const readSources = async () => {
  const { signal } = attempt
  const sources = await State.get<ReadonlyArray<State.SourceInfo>>("/api/sources", {}, signal)
  if (!signal.aborted) State.sources.value = sources
}

const open = (source: string) => {
  const opened = new EventSource(State.query("/api/events", lastSeen === "" ? { source } : { source, after: lastSeen }))
  const on = (type: string, does: (event: MessageEvent<string>) => void) =>
    opened.addEventListener(type, (event: MessageEvent<string>) => {
      if (opened === events) does(event)
    })
  events = opened
  // Whether the browser would connect again or not: we do, after a pause that grows.
  on("error", fail)
  on("alive", () => dispatch({ _tag: "Heard", at: now() }))
  on("begin", ({ data, lastEventId }) => {
    const { heartbeat, life } = JSON.parse(data) as Begin
    dispatch({ _tag: "Begun", at: now(), life, heartbeat })
    lastSeen = lastEventId
    State.life.value = life
    State.round.value++
  })
  on("sample", ({ data, lastEventId }) => {
    dispatch({ _tag: "Heard", at: now() })
    lastSeen = lastEventId
    if (arrived.length === 0) setTimeout(draw, together)
    arrived.push(JSON.parse(data) as Sample)
  })
}

/** The sources come first: the server may have started again, with others. */
const connect = async () => {
  close()
  const { signal } = attempt
  const isRead = await readSources().then(
    () => true,
    () => false
  )
  if (signal.aborted) return
  if (isRead && name.value !== undefined) open(name.value)
  else fail()
}

const perform: Readonly<Record<Connection.Command, () => void>> = {
  Close: close,
  Connect: () => void connect(),
  Renew: () => {
    forget()
    // Those of the server before may have been read, immediately before it ended.
    void readSources().catch(() => undefined)
    void check()
  }
}

const wake = () => {
  if (events?.readyState === EventSource.CLOSED) fail()
  dispatch({ _tag: "Woken", at: now() })
}

/** Follows the source of the URL. */
export const begin = (): void => {
  dispatch({ _tag: "Woken", at: now() })
  setInterval(() => dispatch({ _tag: "Ticked", at: now() }), 1_000)
  addEventListener("online", wake)
  addEventListener("pageshow", wake)
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") wake()
  })
  effect(() => {
    if (name.value === undefined) return
    forget()
    // An attempt that is still reading the sources opens the stream of the right one.
    if (events !== undefined) dispatch({ _tag: "Turned", at: now() })
  })
  effect(() => {
    if (State.revision.value === "" || name.value === undefined) return
    const asked = ++summaries.asked
    const [life, source] = [State.life.peek(), name.value]
    State.get<Summary>("/api/summary", { source }).then(
      (summary) => {
        if (asked <= summaries.answered || life !== State.life.value || source !== name.value) return
        summaries.answered = asked
        State.summary.value = summary
      },
      // The next round asks again.
      () => undefined
    )
  })
}
