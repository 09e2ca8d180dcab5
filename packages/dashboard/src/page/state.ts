/** What the page knows: where it is by its URL, and what the server has sent. */
import { computed, effect, signal } from "@preact/signals"
import type { Sample, Summary } from "../Api.js"

export interface SourceInfo {
  readonly name: string
  readonly kind: string
  readonly endpointId?: string
  readonly resume?: string
  readonly actions: ReadonlyArray<string>
  readonly faults: ReadonlyArray<string>
}

export const views = ["fleet", "jobs", "batch", "limits", "cost"] as const

const kept = 600

/** The token stands in the fragment once: then in the storage of this tab, so that nobody reads it off the address. */
const takeToken = (): string => {
  const given = /^#token=([\w-]+)$/.exec(location.hash)?.[1]
  if (given !== undefined) {
    sessionStorage.setItem("token", given)
    history.replaceState(null, "", location.pathname + location.search)
  }
  return sessionStorage.getItem("token") ?? ""
}
const token = takeToken()
export const hasToken = token !== ""

export const params = signal(new URLSearchParams(location.search))
addEventListener("popstate", () => (params.value = new URLSearchParams(location.search)))

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
/** What came of the last action. */
export const message = signal<{ readonly text: string; readonly isBad: boolean } | undefined>(undefined)

const query = (path: string, parameters: Readonly<Record<string, string>>) =>
  `${path}?${new URLSearchParams(parameters)}`

export const get = async <A>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<A> => {
  const response = await fetch(query(path, parameters))
  if (!response.ok) throw new Error(await problemOf(response))
  return (await response.json()) as A
}

const problemOf = async (response: Response): Promise<string> => {
  const body: unknown = await response.json().catch(() => undefined)
  return typeof body === "object" && body !== null && "message" in body && typeof body.message === "string"
    ? body.message
    : `The dashboard answered ${response.status}.`
}

export const post = async <A>(path: string, body: unknown): Promise<A> => {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify(body)
  })
  if (!response.ok) throw new Error(await problemOf(response))
  return (await response.json()) as A
}

const actNow = async (path: string, body: unknown, done: string): Promise<boolean> => {
  try {
    await post(path, body)
    message.value = { text: done, isBad: false }
    return true
  } catch (error) {
    message.value = { text: error instanceof Error ? error.message : String(error), isBad: true }
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

const follow = (name: string): (() => void) => {
  samples.value = []
  summary.value = undefined
  const events = new EventSource(query("/api/events", { source: name }))
  events.addEventListener("open", () => (isConnected.value = true))
  events.addEventListener("error", () => (isConnected.value = false))
  events.addEventListener("sample", ({ data }: MessageEvent<string>) => {
    const sample = JSON.parse(data) as Sample
    const before = samples.value
    // A dashboard that was started again counts from 1 again.
    samples.value = [...before.filter(({ seq }) => seq < sample.seq).slice(1 - kept), sample]
  })
  return () => events.close()
}

/** Begins to follow the source of the URL. */
export const begin = async (): Promise<void> => {
  sources.value = await get<ReadonlyArray<SourceInfo>>("/api/sources")
  const name = computed(() => source.value?.name)
  effect(() => (name.value === undefined ? undefined : follow(name.value)))
  const version = computed(() => newest.value?.version)
  effect(() => {
    if (version.value === undefined || name.value === undefined) return
    get<Summary>("/api/summary", { source: name.value }).then(
      (next) => (summary.value = next),
      () => (isConnected.value = false)
    )
  })
}
