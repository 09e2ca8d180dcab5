/** Whether an answer is RunPod's own, or that of something on the way there, and what to say of the latter. */
import type * as ErrorBody from "../schemas/ErrorBody.js"
import { isCertificate, proxyTunnel } from "../internal/text/transportCode.js"
import type { Context, Says } from "./requestError.js"

export const isEndpointMissing = (detail = ""): boolean => detail.toLowerCase().includes("endpoint not found")

/** "job not found", "no such request": what a 404 says that is about the job or batch and not about its URL. */
const namesWhatIsMissing = ({ detail = "", form }: ErrorBody.ErrorBody): boolean =>
  // Of a "request" gateways speak, too: "the request could not be routed".
  (form === "RunPod" ? /(?<![/\w-])(?:job|batch|request)(?![/\w-])/i : /(?<![/\w-])(?:job|batch)(?![/\w-])/i).test(
    detail
  ) && /\b(?:not?|unknown|expired|gone)\b/i.test(detail)

/**
 * Whether an answer with such a status is RunPod's word. A gateway that lost its way to RunPod answers 401, 403 and 404, too, perhaps when
 * RunPod has accepted the request already. RunPod's own is JSON, and for a key it does not know also empty. Of a job or batch, which
 * may exist whatever a gateway says, it must have a form that only RunPod's has; what is JSON has refused anything else before it
 * came to RunPod. A body too large was refused whoever says so, and a 429 slows down whoever sends it.
 */
export const isRunPods = ({ batchId, jobId }: Context, status: number, said: ErrorBody.ErrorBody): boolean => {
  if (status < 400 || status === 408 || status >= 500) return false
  if (status === 413 || status === 429) return true
  const { detail, form } = said
  if (form === "Empty") return status === 401
  if (form !== "RunPod" && form !== "Json") return false
  if (jobId === undefined && batchId === undefined) return true
  if (jobId !== undefined && said.jobId !== undefined && said.jobId !== jobId) return false
  return status === 404 ? namesWhatIsMissing(said) || isEndpointMissing(detail) : form === "RunPod"
}

/** What a local worker says of all paths that RunPod has, and other servers over FastAPI of paths that they do not know. */
export const isLocalWorkers = (body = ""): boolean => /^\s*\{\s*"detail"\s*:\s*"Not Found"\s*\}\s*$/.test(body)

export const useLayerLocal =
  "Check the base URL. If it is that of a handler under --rp_serve_api, call it with `RunPod.layerLocal`."

const checkBaseUrl = "If it stays, a proxy in between answers, or the base URL is wrong."

/** What came in place of RunPod's answer. */
export const serverErrorSays = ({ body, status = 500 }: Context): Says => {
  const isPage = body?.trimStart().startsWith("<") === true
  if (status >= 500 || status === 408) {
    return ["RunPod or its gateway failed", "It is often gone in a moment; if it stays, look at RunPod's status page."]
  }
  if (isPage) return ["an HTML page came, which is not RunPod's answer", checkBaseUrl]
  if (status >= 400) {
    const advice = isLocalWorkers(body) ? useLayerLocal : checkBaseUrl
    return [`${body === undefined ? "an empty" : "an"} answer came that is not RunPod's`, advice]
  }
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
    return "Nothing listens there: check the base URL or the proxy, and that the server runs. A local worker is started with `python handler.py --rp_serve_api`."
  return "Check the network and the base URL."
}
