/** What the page knows: where it is by its URL, and what the server has sent. */
import { computed, effect, signal } from "@preact/signals"
import type { Sample, Summary } from "../Api.js"
// First: it may put another place into the address.
import { isRefused, Refused, send } from "./token.js"

export interface SourceInfo {
  readonly name: string
  readonly kind: string
  readonly endpointId?: string
  readonly resume?: string
  readonly actions: ReadonlyArray<string>
  readonly faults: ReadonlyArray<string>
}

export const views = ["fleet", "jobs", "batch", "limits", "cost"] as const

export const params = signal(new URLSearchParams(location.search))
addEventListener("popstate", () => (params.value = new URLSearchParams(location.search)))
effect(() => {
  const place = String(params.value)
  sessionStorage.setItem("place", place === "" ? "" : `?${place}`)
})

/** Goes to another place of the page; an empty value takes a parameter away. */
export const go = (changes: Readonly<Record<string, string>>, { replace = false } = {}): void => {
  const next = new URLSearchParams(params.value)
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") next.delete(name)
    else next.set(name, value)
  }
  history[replace ? "replaceState" : "pushState"](null, "", `?${next}`)
  params.value = next
}

/** The address of another place of the page. */
export const hrefOf = (changes: Readonly<Record<string, string>>): string => {
  const next = new URLSearchParams(params.value)
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") next.delete(name)
    else next.set(name, value)
  }
  return `?${next}`
}

export const sources = signal<ReadonlyArray<SourceInfo>>([])
export const source = computed(
  () => sources.value.find(({ name }) => name === params.value.get("source")) ?? sources.value[0]
)
export const view = computed(() => params.value.get("view") ?? (source.value?.kind === "journal" ? "batch" : "fleet"))
export const samples = signal<ReadonlyArray<Sample>>([])
export const newest = computed(() => samples.value.at(-1))
export const summary = signal<Summary | undefined>(undefined)
export const isConnected = signal(false)
/** The life of the server: another server is another one, even if its jobs have the same ids and its samples the same numbers. */
export const life = signal("")
/** All that is shown is fetched again in each round: after the page has connected, and after a request had no answer. */
export const round = signal(0)
/** Changes when what was fetched may be old; empty before the first connection. */
export const revision = computed(() => (round.value === 0 ? "" : `${round.value} ${newest.value?.version ?? ""}`))
/** What came of the last action. */
export const message = signal<{ readonly text: string; readonly isBad: boolean } | undefined>(undefined)

export const query = (path: string, parameters: Readonly<Record<string, string>>) =>
  `${path}?${new URLSearchParams(parameters)}`

let isRepeating = false

/** Begins another round in a while. Without a connection, the next one does that. */
const repeat = () => {
  if (isRepeating) return
  isRepeating = true
  setTimeout(() => {
    isRepeating = false
    if (isConnected.value) round.value++
  }, 1_000)
}

/** The server has answered, and says why it is no success. */
export class Problem extends Error {}

const read = async <A>(address: string, signal: AbortSignal): Promise<A> => {
  const response = await fetch(address, { signal })
  if (!response.ok) throw new Problem(await problemOf(response))
  return (await response.json()) as A
}

/** Without a `signal` a request that has no answer is repeated in the next round. */
export const get = <A>(
  path: string,
  parameters: Readonly<Record<string, string>> = {},
  signal?: AbortSignal
): Promise<A> => {
  const reading = read<A>(query(path, parameters), signal ?? AbortSignal.timeout(10_000))
  if (signal === undefined) reading.catch((error: unknown) => (error instanceof Problem ? undefined : repeat()))
  return reading
}

const problemOf = async (response: Response): Promise<string> => {
  const body: unknown = await response.json().catch(() => undefined)
  return typeof body === "object" && body !== null && "message" in body && typeof body.message === "string"
    ? body.message
    : `The dashboard answered ${response.status}.`
}

export const post = async <A>(path: string, body: unknown): Promise<A> => {
  const response = await send(path, body)
  if (response.status === 401) throw new Refused(await problemOf(response))
  if (!response.ok) throw new Problem(await problemOf(response))
  return (await response.json()) as A
}

const actNow = async (path: string, body: unknown, done: string): Promise<boolean> => {
  try {
    await post(path, body)
    message.value = { text: done, isBad: false }
    return true
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    // As long as the token is refused, the page says what to do about it.
    message.value = error instanceof Refused && isRefused.value ? undefined : { text, isBad: true }
    return false
  }
}

let lastAct: Promise<unknown> = Promise.resolve()

/** Does something with the token when what was done before has its answer, and says what came of it: whether it succeeded. */
export const act = (path: string, body: unknown, done: string): Promise<boolean> => {
  const acting = lastAct.then(() => actNow(path, body, done))
  lastAct = acting
  return acting
}
