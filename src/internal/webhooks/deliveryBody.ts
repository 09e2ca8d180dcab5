import * as Either from "effect/Either"
import { WebhookNotJsonError } from "../../errors/WebhookError.js"
import type * as WebhookEvent from "../../schemas/WebhookEvent.js"
import { excerpt } from "../text/excerpt.js"
import { isJsonObject, textOf } from "../text/json.js"

/** The text of a body. */
export const decodeText = (body: Uint8Array | string): Either.Either<string, WebhookNotJsonError> =>
  typeof body === "string"
    ? Either.right(body)
    : Either.try({
        try: () => new TextDecoder("utf-8", { fatal: true }).decode(body),
        catch: () => new WebhookNotJsonError()
      })

/** A text shorter than this is no secret. */
const minSecretLength = 8

/** The secrets that a body echoes: where it was sent to, and the S3 credentials of the submit. */
const secretsOf = (json: unknown): ReadonlyArray<string | undefined> => {
  if (!isJsonObject(json)) return []
  const s3Config = isJsonObject(json["s3Config"]) ? json["s3Config"] : {}
  return [json["webhook"], json["webhookV2"], s3Config["accessId"], s3Config["accessSecret"]].map(textOf)
}

/**
 * Takes out of a body's text what must not be kept: the token, wherever it is, and the secrets that the body echoes. A token
 * is made of letters that no encoder touches, so a plain search finds it; `scrub` would take too long for a body of any length.
 */
export const redactorOf = (json: unknown, token: string | undefined): ((text: string) => string) => {
  const replacements = [token, ...secretsOf(json)].flatMap((secret) => {
    if (secret === undefined || secret.length < minSecretLength) return []
    const written = JSON.stringify(secret).slice(1, -1)
    // The same digits may stand outside of a string, and the text must remain JSON.
    const isNumeric = /^[\d.eE+-]+$/.test(written)
    return [{ written, by: isNumeric ? written.replace(/\d/g, "1") : "<redacted>" }]
  })
  return (text) => replacements.reduce((text, { by, written }) => text.replaceAll(written, by), text)
}

/** Tells one end of a job from another, and is the same when an end is delivered again. */
export const outcomeOf = ({ job }: WebhookEvent.WebhookEvent): string =>
  `${excerpt(job.status, 64)} ${job.delayTime ?? "-"} ${job.executionTime ?? "-"}`
