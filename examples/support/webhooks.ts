/**
 * What the webhook examples are set up with. With the emulator neither variable is needed: a secret is drawn, and the
 * receiver is reached where it is.
 */
import { Config, Redacted } from "effect"
import { randomBytes } from "node:crypto"

/** RUNPOD_WEBHOOK_SECRET. */
export const webhookSecret = Config.redacted("RUNPOD_WEBHOOK_SECRET").pipe(
  Config.withDefault(Redacted.make(randomBytes(32).toString("base64")))
)

/** RUNPOD_WEBHOOK_URL, where RunPod reaches the receiver; otherwise where this machine does. */
export const webhookUrl = <Local>(local: Local) =>
  Config.nonEmptyString("RUNPOD_WEBHOOK_URL").pipe(Config.withDefault(local))
