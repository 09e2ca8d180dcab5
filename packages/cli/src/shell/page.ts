import type { Source } from "effect-runpod-dashboard/Source"
import * as NodeDashboard from "effect-runpod-dashboard/NodeDashboard"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { fileURLToPath } from "node:url"
import { LocalError } from "./errors.js"

/** Where the build puts the files of the page: beside the folder of this file. */
const folder = fileURLToPath(new URL("../page/", import.meta.url))

/** Serves the page of a dashboard until the scope closes, and gives its address, with the token. */
export const serve = (sources: ReadonlyArray<Source>, port = 0) =>
  NodeDashboard.serve({ sources, port, page: folder }).pipe(
    Effect.mapBoth({
      onFailure: ({ cause, message }) => {
        const why = cause instanceof Error ? cause.message : message
        return new LocalError({ message: `The dashboard cannot be served: ${why}` })
      },
      onSuccess: ({ url }) => Redacted.value(url)
    })
  )
