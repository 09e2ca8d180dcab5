/**
 * A program that uses an endpoint. Its tests are in caption.test.ts.
 */
import { Endpoint } from "effect-runpod"
import { Effect, Schema } from "effect"

/** Describes an image in a sentence. A model that takes longer than five minutes is not waited for. */
export const caption = (image: string) =>
  Effect.gen(function* () {
    const captioner = yield* Endpoint.make("captioner", {
      input: Schema.Struct({ image: Schema.String }),
      output: Schema.Struct({ text: Schema.String })
    })
    const { text } = yield* captioner.call({ image }, { timeout: "5 minutes" })
    return text
  }).pipe(Effect.catchTag("WaitTimeoutError", () => Effect.succeed("(no caption)")))
