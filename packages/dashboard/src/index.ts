/**
 * The public modules. `effect-runpod-dashboard/NodeDashboard`, which needs Node, is an entry of its own: a page that shows endpoints, jobs, batches, limits and costs while they run.
 *
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 */
export * as Api from "./Api.js"

/**
 * @since 0.1.0
 */
export * as BatchReport from "./BatchReport.js"

/**
 * @since 0.1.0
 */
export * as Dashboard from "./Dashboard.js"

/**
 * @since 0.1.0
 */
export * as Source from "./Source.js"
