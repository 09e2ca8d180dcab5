/**
 * Batches and webhooks in SQL, and budgets that processes share, for effect-runpod.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as BatchStore from "./BatchStore.js"

/**
 * @since 0.1.0
 */
export * as PermitStore from "./PermitStore.js"

/**
 * @since 0.1.0
 */
export * as Redis from "./Redis.js"

/**
 * @since 0.1.0
 */
export * as Sql from "./Sql.js"
