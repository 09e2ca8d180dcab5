import * as Context from "effect/Context"
import type { Service } from "../../services/Webhooks.js"

// Apart from services/Webhooks.ts, so that a program without webhooks does not bundle its routes.

/**
 * The webhooks of an application: issues their URLs and receives what is delivered to them.
 *
 * @since 0.1.0
 * @category tags
 */
export class Webhooks extends Context.Tag("effect-runpod/Webhooks")<Webhooks, Service>() {}
