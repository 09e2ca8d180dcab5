import type { Source } from "effect-runpod-dashboard/Source"
import * as NodeDashboard from "effect-runpod-dashboard/NodeDashboard"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { homedir } from "node:os"
import process from "node:process"
import { fileURLToPath } from "node:url"
import { excerptOf, UsageError } from "./errors.js"
import { say } from "./progress.js"

/** Where the build puts the files of the page: beside the folder of this file. */
const folder = fileURLToPath(new URL("../page/", import.meta.url))

/** The token is the same each time, so that a page which is open goes on when the command is started again. */
const tokenFile = (): string => {
  const given = process.env["XDG_STATE_HOME"] ?? ""
  return `${given === "" ? `${homedir()}/.local/state` : given}/effect-runpod/dashboard-token`
}

/** Serves the page of a dashboard until the scope closes, and gives its address, with the token. */
export const serve = (sources: ReadonlyArray<Source>, port = 0) => {
  const options = { sources, port, page: folder }
  return NodeDashboard.serve({ ...options, tokenFile: tokenFile() }).pipe(
    Effect.catchTag("TokenFileError", ({ message }) => {
      say(`warning: ${message} The page has a token for this time only.`)
      return NodeDashboard.serve(options)
    }),
    Effect.mapBoth({
      onFailure: ({ cause, message }) => {
        const why = cause instanceof Error ? cause.message : message
        const advice = "Give another --port, or 0 for any free one."
        return new UsageError({ message: `The dashboard cannot be served: ${excerptOf(why)}. ${advice}` })
      },
      onSuccess: ({ url }) => Redacted.value(url)
    })
  )
}
