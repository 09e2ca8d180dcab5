import * as Duration from "effect/Duration"
import type { EndpointOptions } from "../../contract.js"
import { wholeMillis } from "../jobs/fleet.js"

/** How long a job stays with a worker that does not report it, in milliseconds. */
export const lostAfter = 45_000

/** What the options say of workers that are processes, with the defaults; `undefined` where workers are emulated. Times are milliseconds. */
export const readExternal = (options: EndpointOptions["externalWorkers"] = false) => {
  if (options === false) return undefined
  const given = options === true ? {} : options
  return {
    hold: wholeMillis(given.hold ?? "10 seconds"),
    pingInterval: Math.max(1, Math.ceil(Duration.toSeconds(given.pingInterval ?? "10 seconds"))) * 1000,
    lostAfter: wholeMillis(given.lostAfter ?? lostAfter)
  }
}
