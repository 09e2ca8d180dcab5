import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Effect from "effect/Effect"
import { statusOf } from "../../../errors/WebhookError.js"
import type { Service } from "../../../services/Webhooks.js"
import type { Deliver } from "../../contract.js"

/** Posts deliveries. */
export const overHttp =
  (client: HttpClient.HttpClient): Deliver =>
  ({ body, headers, url }) =>
    HttpClientRequest.post(url, { headers }).pipe(
      HttpClientRequest.bodyText(body, "application/json"),
      client.execute,
      // To its end, so that the connection can be used again.
      Effect.tap((response) => response.text),
      Effect.map((response) => response.status),
      Effect.withTracerEnabled(false)
    )

/** Hands deliveries to a receiver in this process. */
export const toReceiver =
  (webhooks: Service): Deliver =>
  (delivery) =>
    Effect.match(webhooks.receive(delivery), { onFailure: statusOf, onSuccess: () => 200 })

export const toNobody: Deliver = () => Effect.fail("there is nobody to deliver a webhook to")
