/**
 * The token of the page. It stands in the fragment of an address once, then in the storage of this tab, so that nobody reads it off the address.
 * Other tabs of the same server get it when the server has taken it.
 */
import { computed, signal } from "@preact/signals"

const shape = /^[\w-]+$/
const channel = new BroadcastChannel("token")

export const token = signal(sessionStorage.getItem("token") ?? "")
export const hasToken = computed(() => token.value !== "")
/** The server does not take the token. */
export const isRefused = signal(false)

/** An answer 401. */
export class Refused extends Error {}

const keep = (given: string) => {
  sessionStorage.setItem("token", given)
  token.value = given
  isRefused.value = false
}

/** A request with the token. */
export const send = async (path: string, body?: unknown): Promise<Response> => {
  const used = token.value
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${used}` },
    body: body === undefined ? null : JSON.stringify(body),
    signal: AbortSignal.timeout(60_000)
  })
  // Unless another token has come meanwhile.
  if (used === token.value) isRefused.value = response.status === 401
  return response
}

/** Asks the server whether it takes the token. */
export const check = async (): Promise<void> => {
  const asked = token.value
  if (asked === "") return
  const { ok } = await send("/api/token").catch(() => ({ ok: false }))
  if (ok) channel.postMessage(asked)
}

/** Takes the token of the address. One without a place leads to where this tab was. */
const take = (): boolean => {
  const given = location.hash.replace(/^#token=/, "")
  if (!location.hash.startsWith("#token=") || !shape.test(given)) return false
  keep(given)
  history.replaceState(null, "", location.pathname + (location.search || (sessionStorage.getItem("place") ?? "")))
  return true
}

take()
// An address that differs by its fragment only loads nothing.
addEventListener("hashchange", () => {
  if (take()) void check()
})
channel.addEventListener("message", ({ data }: MessageEvent<unknown>) => {
  if (typeof data === "string" && shape.test(data)) keep(data)
})
