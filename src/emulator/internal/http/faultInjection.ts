import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import { wallMillis } from "../../../internal/pace/monotonic.js"
import type { Hang, RateLimited } from "../../Fault.js"
import type { ResponseFault } from "../faults.js"
import type { HttpResponse, Transmission } from "./messages.js"
import * as Responses from "./responses.js"

export const whole = (response: HttpResponse): Transmission => ({ _tag: "Whole", response })

export const reset: Transmission = { _tag: "Reset" }

const halfOf = ({ body }: HttpResponse): number => Math.floor(new TextEncoder().encode(body).byteLength / 2)

type AnsweredFault = Exclude<ResponseFault, Hang>

const processed: ReadonlySet<ResponseFault["_tag"]> = new Set(["ResetAfter", "Stall", "CutBody", "Truncated"])

/** Whether the request gets as far as RunPod itself. */
export const isProcessed = (fault: ResponseFault): boolean =>
  processed.has(fault._tag) || ("processed" in fault && fault.processed === true)

const rateLimited = ({ as, retryAfter }: RateLimited, clock: Clock.Clock): HttpResponse => {
  if (retryAfter === undefined) return Responses.rateLimited()
  const seconds = Math.ceil(Duration.toSeconds(retryAfter))
  if (as !== "date") return Responses.rateLimited(String(seconds))
  return Responses.rateLimited(new Date(wallMillis(clock) + seconds * 1000).toUTCString())
}

/** What the client sees of RunPod's response; of a request that was not processed, only the fault decides it. */
export const apply = (fault: AnsweredFault, response: HttpResponse, clock: Clock.Clock): Transmission => {
  switch (fault._tag) {
    case "RateLimited":
      return whole(rateLimited(fault, clock))
    case "ServerError":
      return whole(Responses.serverError(fault.status ?? 503, fault.body ?? "json"))
    case "HtmlOk":
      return whole(Responses.htmlOk)
    case "EmptyOk":
      return whole(Responses.emptyOk)
    case "NotVisibleYet":
      return whole(Responses.jobNotFound)
    case "Paused":
      return whole(Responses.paused)
    case "Truncated":
      return whole({ ...response, body: response.body.slice(0, response.body.length >> 1) })
    case "Stall":
      return { _tag: "Stall", response, bytes: fault.afterBytes ?? halfOf(response) }
    case "CutBody":
      return { _tag: "Cut", response, bytes: halfOf(response) }
    case "ResetBefore":
    case "ResetAfter":
      return reset
  }
}
