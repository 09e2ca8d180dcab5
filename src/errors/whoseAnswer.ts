/** Whether an answer is RunPod's own, or that of something on the way there, and what to say of the latter. */
import type * as ErrorBody from "../schemas/ErrorBody.js"
import { isCertificate, proxyTunnel } from "../internal/text/transportCode.js"
import type { Context, Says } from "./requestError.js"

export const isEndpointMissing = (detail = ""): boolean => detail.toLowerCase().includes("endpoint not found")

/** "job not found", "no such request": what a 404 says that is about the job or batch and not about its URL. */
const namesWhatIsMissing = (detail: string | undefined): boolean =>
  detail !== undefined &&
  /(?<![/\w-])(?:job|request|batch)(?![/\w-])/i.test(detail) &&
  /\b(?:not?|unknown|expired|gone)\b/i.test(detail)

/**
 * Whether an answer with such a status is RunPod's word. A gateway that lost its way to RunPod answers 403 and 404, too, perhaps when
 * RunPod has accepted the request already. RunPod's own is JSON, and for a key it does not know also empty. A body too large was
 * refused whoever says so, and a 429 slows down whoever sends it.
 */
export const isRunPods = (
  { batchId, jobId }: Context,
  status: number,
  { detail, form }: ErrorBody.ErrorBody
): boolean => {
  if (status < 400 || status === 408 || status >= 500) return false
  if (status === 413 || status === 429) return true
  if (form !== "RunPod") return status === 401 && form === "Empty"
  const isOfJob = jobId !== undefined || batchId !== undefined
  return status !== 404 || !isOfJob || namesWhatIsMissing(detail) || isEndpointMissing(detail)
}

const checkBaseUrl = "If it stays, a proxy in between answers, or the base URL is wrong."

/** What came in place of RunPod's answer. */
export const serverErrorSays = ({ body, status = 500 }: Context): Says => {
  const isPage = body?.trimStart().startsWith("<") === true
  if (status >= 500 || status === 408) {
    return ["RunPod or its gateway failed", "It is often gone in a moment; if it stays, look at RunPod's status page."]
  }
  if (isPage) return ["an HTML page came, which is not RunPod's answer", checkBaseUrl]
  if (status >= 400) return [`${body === undefined ? "an empty" : "an"} answer came that is not RunPod's`, checkBaseUrl]
  if (status >= 200 && status < 300) return ["the answer is not JSON", checkBaseUrl]
  return status === 0 || status >= 300
    ? ["a redirect came, which is not followed", "Check the base URL, whether it must begin with https as well."]
    : ["an answer came with a status that no answer has", checkBaseUrl]
}

/** What to do about a connection that was not made. */
export const connectAdvice = (code: string | undefined): string => {
  if (isCertificate(code)) {
    return "The server's certificate is not trusted: name the authority of your proxy or server in NODE_EXTRA_CA_CERTS, and check the base URL."
  }
  if (code === proxyTunnel)
    return "Check the address, user and password of the proxy (HTTP_PROXY, HTTPS_PROXY, `proxy`)."
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    return "No address was found for the host: check the base URL and DNS."
  }
  if (code === "ECONNREFUSED")
    return "Nothing listens there: check the base URL or the proxy, and that the server runs."
  return "Check the network and the base URL."
}
