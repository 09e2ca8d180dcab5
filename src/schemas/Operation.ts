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
 * - `Submit`: it can start a second, paid job, or add the same requests a second time (run, runSync, createBatch, appendBatch);
 * - `Once`: it acts again (retry, purgeQueue).
 *
 * @since 0.1.0
 * @category models
 */
export type Repeat = "Repeatable" | "Draining" | "Submit" | "Once"

/**
 * One operation as it looks on the wire. Paths are relative to `{baseUrl}/{endpointId}`; operations with `job`
 * put the job id behind the path, and those of the batch API their ids in place of `{batchId}` and `{requestId}`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition {
  readonly method: "GET" | "POST" | "PUT" | "DELETE"
  readonly path: string
  readonly job: boolean
  readonly repeat: Repeat
}

/**
 * The table of operations. Source: RunPod's endpoint operation reference, and its page on batch jobs (beta).
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
  requests: { method: "GET", path: "requests", job: false, repeat: "Repeatable" },
  createBatch: { method: "POST", path: "batch", job: false, repeat: "Submit" },
  listBatches: { method: "GET", path: "batch", job: false, repeat: "Repeatable" },
  batchStatus: { method: "GET", path: "batch/{batchId}", job: false, repeat: "Repeatable" },
  updateBatch: { method: "PUT", path: "batch/{batchId}", job: false, repeat: "Repeatable" },
  appendBatch: { method: "POST", path: "batch/{batchId}/requests", job: false, repeat: "Submit" },
  batchResults: { method: "GET", path: "batch/{batchId}/requests", job: false, repeat: "Repeatable" },
  finalizeBatch: { method: "POST", path: "batch/{batchId}/finalize", job: false, repeat: "Repeatable" },
  cancelBatch: { method: "POST", path: "batch/{batchId}/cancel", job: false, repeat: "Repeatable" },
  deleteBatchRequest: {
    method: "DELETE",
    path: "batch/{batchId}/requests/{requestId}",
    job: false,
    repeat: "Repeatable"
  }
} as const satisfies Record<string, Definition>

/**
 * The name of an operation: as the methods of the `RunPod` service are named, or, with the word batch in it, one of `BatchApi`.
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
  "requests",
  "createBatch",
  "listBatches",
  "batchStatus",
  "updateBatch",
  "appendBatch",
  "batchResults",
  "finalizeBatch",
  "cancelBatch",
  "deleteBatchRequest"
]

/**
 * An operation of the batch API (beta).
 *
 * @since 0.1.0
 * @category models
 */
export type BatchOperation =
  | "createBatch"
  | "listBatches"
  | "batchStatus"
  | "updateBatch"
  | "appendBatch"
  | "batchResults"
  | "finalizeBatch"
  | "cancelBatch"
  | "deleteBatchRequest"

const ofBatch: ReadonlySet<Operation> = new Set(names.filter((name) => operations[name].path.startsWith("batch")))

/**
 * Whether the operation is one of the batch API (beta).
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfBatch = (operation: Operation): operation is BatchOperation => ofBatch.has(operation)

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

/**
 * The same for an operation of the batch API, for example `/abc123/batch/batch-1/requests`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const batchPathOf = (
  operation: BatchOperation,
  endpointId: string,
  ids: { readonly batchId?: string | undefined; readonly requestId?: string | undefined }
): string => {
  const { batchId = "", requestId = "" } = ids
  const path = operations[operation].path
    .replace("{requestId}", () => encodeURIComponent(requestId))
    .replace("{batchId}", () => encodeURIComponent(batchId))
  return `/${encodeURIComponent(endpointId)}/${path}`
}
