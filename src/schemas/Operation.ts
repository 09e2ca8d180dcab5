/**
 * The operations of the RunPod serverless API: their names, methods, paths and what a repeat of each one does.
 *
 * @since 0.1.0
 */
import * as Record from "effect/Record"
import * as Struct from "effect/Struct"

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
 * One operation as it looks on the wire.
 *
 * @since 0.1.0
 * @category models
 */
export interface Definition {
  readonly method: "GET" | "POST" | "PUT" | "DELETE"
  /** Below `{baseUrl}/{endpointId}`, with the names of ids in braces. */
  readonly path: string
  /** What a second, identical request does, which decides what may be sent again. */
  readonly repeat: Repeat
  /** How long RunPod holds the answer unless the request says otherwise, in milliseconds. Default: it does not hold it. */
  readonly hold?: number | undefined
}

/**
 * The table of operations. Source: RunPod's endpoint operation reference, and its page on batch jobs (beta).
 *
 * @since 0.1.0
 * @category constants
 */
export const operations = {
  run: { method: "POST", path: "run", repeat: "Submit" },
  runSync: { method: "POST", path: "runsync", repeat: "Submit", hold: 90_000 },
  status: { method: "GET", path: "status/{jobId}", repeat: "Repeatable" },
  statusSync: { method: "GET", path: "status-sync/{jobId}", repeat: "Repeatable", hold: 90_000 },
  stream: { method: "GET", path: "stream/{jobId}", repeat: "Draining", hold: 10_000 },
  cancel: { method: "POST", path: "cancel/{jobId}", repeat: "Repeatable" },
  retry: { method: "POST", path: "retry/{jobId}", repeat: "Once" },
  purgeQueue: { method: "POST", path: "purge-queue", repeat: "Once" },
  health: { method: "GET", path: "health", repeat: "Repeatable" },
  requests: { method: "GET", path: "requests", repeat: "Repeatable" },
  createBatch: { method: "POST", path: "batch", repeat: "Submit" },
  listBatches: { method: "GET", path: "batch", repeat: "Repeatable" },
  batchStatus: { method: "GET", path: "batch/{batchId}", repeat: "Repeatable" },
  updateBatch: { method: "PUT", path: "batch/{batchId}", repeat: "Repeatable" },
  appendBatch: { method: "POST", path: "batch/{batchId}/requests", repeat: "Submit" },
  batchResults: { method: "GET", path: "batch/{batchId}/requests", repeat: "Repeatable" },
  finalizeBatch: { method: "POST", path: "batch/{batchId}/finalize", repeat: "Repeatable" },
  cancelBatch: { method: "POST", path: "batch/{batchId}/cancel", repeat: "Repeatable" },
  deleteBatchRequest: { method: "DELETE", path: "batch/{batchId}/requests/{requestId}", repeat: "Repeatable" }
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
export const names: ReadonlyArray<Operation> = Struct.keys(operations)

/**
 * An operation of the batch API (beta).
 *
 * @since 0.1.0
 * @category models
 */
export type BatchOperation = {
  [K in Operation]: (typeof operations)[K]["path"] extends `batch${string}` ? K : never
}[Operation]

/**
 * Whether the operation is one of the batch API (beta).
 *
 * @since 0.1.0
 * @category guards
 */
export const isOfBatch = (operation: Operation): operation is BatchOperation =>
  operations[operation].path.startsWith("batch")

/**
 * The ids that paths hold.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ids {
  readonly endpointId: string
  readonly jobId?: string | undefined
  readonly batchId?: string | undefined
  readonly requestId?: string | undefined
}

/**
 * The path of an operation below the base URL with the names of its ids, for example `/{endpointId}/status/{jobId}`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const templateOf = (operation: Operation): string => `/{endpointId}/${operations[operation].path}`

/**
 * The path of a request below the base URL, such as `/abc123/status/job-1`, ids percent-encoded. A missing id leaves its name.
 *
 * @since 0.1.0
 * @category combinators
 */
export const pathOf = (operation: Operation, ids: Partial<Ids>): string =>
  templateOf(operation).replace(/\{(\w+)\}/g, (name, key: keyof Ids) => {
    const id = ids[key]
    return id === undefined ? name : encodeURIComponent(id)
  })

/**
 * The table as rows of `RunPodHttpClient`: each with its name, and the whole path below the base URL.
 *
 * @since 0.1.0
 * @category constants
 */
export const rows = Record.map(operations, (definition: Definition, name: Operation) => ({
  ...definition,
  name,
  path: templateOf(name)
}))
