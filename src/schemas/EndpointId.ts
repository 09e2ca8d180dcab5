/**
 * The id of a serverless endpoint: the part behind `/v2/` in its URL.
 *
 * @since 0.1.0
 */
import { idProblem, idSchema } from "../internal/text/identifier.js"

/**
 * An endpoint id. Everything that takes one takes a plain string as well.
 *
 * @since 0.1.0
 * @category models
 */
export type EndpointId = typeof EndpointId.Type

/**
 * What is wrong with a value as an endpoint id, as a clause; `undefined` when nothing is.
 *
 * @since 0.1.0
 * @category guards
 */
export const problemOf = (id: unknown): string | undefined =>
  idProblem(id) ??
  (/[\s/?#\\]/.test(String(id))
    ? "it must be the bare id, the part behind /v2/ in the endpoint's URL, without slashes or spaces"
    : undefined)

/**
 * The schema of an endpoint id: one path segment of a URL. A whole URL in its place is a common mistake and refused.
 *
 * @since 0.1.0
 * @category schemas
 */
export const EndpointId = /* @__PURE__ */ idSchema("EndpointId", problemOf)
