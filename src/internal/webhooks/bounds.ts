import * as Duration from "effect/Duration"
import type { Bounds, Options } from "../../layers/WebhookStore.js"

/** How much a store keeps, with the defaults. */
export const readBounds = (options: Options): Bounds => ({
  maxAge: Duration.toMillis(options.maxAge ?? "7 days"),
  maxCount: options.maxCount ?? 10_000,
  maxBytes: options.maxBytes ?? 128 * 1024 * 1024
})
