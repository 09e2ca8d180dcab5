import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { invalidUrl } from "../../internal/text/transportCode.js"

/** The proxies of a transport. The texts may be empty. */
export interface Proxies {
  /** For `http:`, and for `https:` where there is no other. */
  readonly http: string
  readonly https: string
  /** The hosts that are reached without one, as in `NO_PROXY`. */
  readonly except: string
}

/** A proxy as `NodeRunPod`'s options have it. */
export type Given = string | URL | Redacted.Redacted | false | undefined

/** Why nothing can be sent: a variable or option that names no proxy. What it holds may have a password, and is not said. */
export class ProxyProblem extends Error {
  readonly code = invalidUrl
}

/** A proxy's URL, whose `http://` environments often leave out. */
const urlOf = (name: string, text: string): Effect.Effect<string, ProxyProblem> => {
  const url = text === "" || text.includes("://") ? text : `http://${text}`
  if (url === "") return Effect.succeed(url)
  return Effect.try({
    try: () => {
      const { password, protocol, username } = new URL(url)
      if (protocol !== "http:" && protocol !== "https:") throw new TypeError()
      // Undici decodes them, too.
      decodeURIComponent(username + password)
      return url
    },
    catch: () => new ProxyProblem(`${name} must be the http or https URL of a proxy, its user and password encoded`)
  })
}

/** Names of both cases, as other programs take them: `https_proxy` before `HTTPS_PROXY`. */
const fromEnvironment = (name: string): Effect.Effect<string> =>
  Config.string(name.toLowerCase()).pipe(
    Config.orElse(() => Config.string(name)),
    Effect.map((text) => text.trim()),
    Effect.orElseSucceed(() => "")
  )

/** The proxies of the environment, those that are given, or none. */
export const read = (given: Given): Effect.Effect<Proxies | undefined, ProxyProblem> =>
  Effect.gen(function* () {
    if (given === false) return undefined
    if (given !== undefined) {
      const url = yield* urlOf("`proxy`", String(Redacted.isRedacted(given) ? Redacted.value(given) : given).trim())
      return { http: url, https: url, except: "" }
    }
    const http = yield* Effect.flatMap(fromEnvironment("HTTP_PROXY"), (text) => urlOf("HTTP_PROXY", text))
    const https = yield* Effect.flatMap(fromEnvironment("HTTPS_PROXY"), (text) => urlOf("HTTPS_PROXY", text))
    return http === "" && https === "" ? undefined : { http, https, except: yield* fromEnvironment("NO_PROXY") }
  })
