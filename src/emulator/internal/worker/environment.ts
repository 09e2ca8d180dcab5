/** What the environment of a worker is made of. */
interface Worker {
  /** The base URL of the server, ending in `/v2`. */
  readonly url: string
  readonly endpointId: string
  readonly workerId: string
  readonly key: string
  /** Milliseconds. */
  readonly pingInterval: number
}

/**
 * The variables that RunPod's SDK reads on a worker. It puts ids in place of `$ID` and `$RUNPOD_POD_ID`, and adds to the query, which
 * must be there. A machine without a GPU has to pass none of the checks that the SDK makes before it asks for jobs.
 */
export const make = ({ endpointId, key, pingInterval, url, workerId }: Worker): Readonly<Record<string, string>> => {
  const at = (path: string) => `${url.replace(/\/+$/, "")}/${encodeURIComponent(endpointId)}/${path}?gpu=none`
  return {
    RUNPOD_AI_API_KEY: key,
    RUNPOD_ENDPOINT_ID: endpointId,
    RUNPOD_POD_ID: workerId,
    RUNPOD_POD_HOSTNAME: `${workerId}-64410fe5`,
    RUNPOD_WEBHOOK_GET_JOB: at("job-take/$ID"),
    RUNPOD_WEBHOOK_POST_OUTPUT: at("job-done/$RUNPOD_POD_ID/$ID"),
    RUNPOD_WEBHOOK_POST_STREAM: at("job-stream/$RUNPOD_POD_ID/$ID"),
    RUNPOD_WEBHOOK_PING: at("ping/$RUNPOD_POD_ID"),
    RUNPOD_PING_INTERVAL: String(pingInterval),
    RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: "true",
    RUNPOD_SKIP_GPU_CHECK: "true"
  }
}
