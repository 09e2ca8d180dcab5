/** What can stand between a program and its store: a server that answers in the store's place, or changes what the store says. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import { originOf } from "../support/listening.js"

/** An answer with its whole body. */
export interface Given {
  readonly status: number
  readonly headers: Http.OutgoingHttpHeaders
  readonly body: Buffer
}

export interface Hooks {
  /** Answers a request in the store's place, if it gives an answer. */
  readonly instead?: (request: Http.IncomingMessage) => ((response: Http.ServerResponse) => void) | undefined
  /** Changes what the store says. */
  readonly change?: (request: Http.IncomingMessage, given: Given) => Given
}

const bodyOf = async (message: AsyncIterable<Buffer>): Promise<Buffer> => {
  const pieces: Array<Buffer> = []
  for await (const piece of message) pieces.push(piece)
  return Buffer.concat(pieces)
}

const forward = (target: string, request: Http.IncomingMessage, body: Buffer): Promise<Given> =>
  new Promise((resolve, reject) => {
    // The signature covers the host, which is that of this server.
    const options = { method: request.method ?? "GET", headers: request.headers }
    const sent = Http.request(`${target}${request.url}`, options, (answer) => {
      bodyOf(answer).then((body) => {
        const { connection: _, "transfer-encoding": __, ...headers } = answer.headers
        resolve({ status: answer.statusCode ?? 0, headers, body })
      }, reject)
    })
    sent.on("error", reject).end(body)
  })

/** Serves in front of a store until the scope closes, and gives its origin. */
export const serve = (
  target: string,
  { change = (_, given) => given, instead }: Hooks
): Effect.Effect<string, never, Scope.Scope> =>
  originOf(
    Http.createServer((request, response) => {
      const answer = async () => {
        const body = await bodyOf(request as AsyncIterable<Buffer>)
        const other = instead?.(request)
        if (other !== undefined) return other(response)
        const given = change(request, await forward(target, request, body))
        response.writeHead(given.status, given.headers).end(given.body)
      }
      answer().catch(() => response.destroy())
    })
  )
