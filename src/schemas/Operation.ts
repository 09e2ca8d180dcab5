/**
 * The operations of the RunPod serverless API: their names, methods, paths and what a repeat of each one does.
 *
 * @since 0.1.0
 */

/**
 * What a second, identical request does on RunPod's side, which decides what may be sent again:
 *
 * - `Repeatable`: nothing more than the first one did (reads, and cancel);
 * - `Draining`: it reads on, but chunks of a lost reply are gone (stream);
 * - `Submit`: it can start a second, paid job (run, runSync);
 * - `Once`: it acts again (retry, purgeQueue).
 *
 * @since 0.1.0
 * @category models
 */
export type Repeat = "Repeatable" | "Draining" | "Submit" | "Once"

/**
 * One operation as it looks on the wire. Paths are relative to `{baseUrl}/{endpointId}`; operations with `job`
 * put the job id behind the path.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition {
  readonly method: "GET" | "POST"
  readonly path: string
  readonly job: boolean
  readonly repeat: Repeat
}

/**
 * The table of operations. Source: RunPod's endpoint operation reference.
 *
 * @since 0.1.0
 * @category constants
 */
export const operations = {
  run: { method: "POST", path: "run", job: false, repeat: "Submit" },
  runSync: { method: "POST", path: "runsync", job: false, repeat: "Submit" },
  status: { method: "GET", path: "status", job: true, repeat: "Repeatable" },
  statusSync: { method: "GET", path: "status-sync", job: true, repeat: "Repeatable" },
  stream: { method: "GET", path: "stream", job: true, repeat: "Draining" },
  cancel: { method: "POST", path: "cancel", job: true, repeat: "Repeatable" },
  retry: { method: "POST", path: "retry", job: true, repeat: "Once" },
  purgeQueue: { method: "POST", path: "purge-queue", job: false, repeat: "Once" },
  health: { method: "GET", path: "health", job: false, repeat: "Repeatable" },
  requests: { method: "GET", path: "requests", job: false, repeat: "Repeatable" }
} as const satisfies Record<string, Definition>

/**
 * The name of an operation, as the methods of the `RunPod` service are named.
 *
 * @since 0.1.0
 * @category models
 */
export type Operation = keyof typeof operations

/**
 * All operation names, in the order of the table.
 *
 * @since 0.1.0
 * @category constants
 */
export const names: ReadonlyArray<Operation> = [
  "run",
  "runSync",
  "status",
  "statusSync",
  "stream",
  "cancel",
  "retry",
  "purgeQueue",
  "health",
  "requests"
]

/**
 * The path of a request below the base URL, ids percent-encoded, for example `/abc123/status/job-1`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const pathOf = (operation: Operation, endpointId: string, jobId?: string): string => {
  const path = `/${encodeURIComponent(endpointId)}/${operations[operation].path}`
  return jobId === undefined ? path : `${path}/${encodeURIComponent(jobId)}`
}
