/**
 * The fastest server that still speaks HTTP properly: canned answers, in a process of its own, so that its CPU time is not
 * counted. Tells its parent the base URLs: of plain HTTP/1.1, and of TLS with HTTP/2 for who wants it.
 */
import { readFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from "node:http2"
import type { AddressInfo, Server } from "node:net"
import { jobBodies, submitBody } from "./bodies.js"

export interface BaseUrls {
  readonly plain: string
  readonly tls: string
}

const jobs = new Map(Object.entries(jobBodies).map(([jobId, body]) => [jobId, Buffer.from(body)]))
const submitted = Buffer.from(submitBody)

const onRequest = (
  request: IncomingMessage | Http2ServerRequest,
  response: (ServerResponse & { readonly stream?: never }) | Http2ServerResponse
) => {
  const answer = (body: Buffer) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": body.byteLength })
    response.end(body)
  }
  const job = jobs.get((request.url ?? "").slice((request.url ?? "").lastIndexOf("/") + 1))
  if (job !== undefined) return answer(job)
  request.resume()
  request.on("end", () => answer(submitted))
}

const read = (name: string) => readFileSync(new URL(`../../test/fixtures/${name}`, import.meta.url))

const plain = createServer(onRequest)
plain.keepAliveTimeout = 60_000
const tls = createSecureServer({ allowHTTP1: true, key: read("localhost.key"), cert: read("localhost.crt") }, onRequest)

const listen = (server: Server) =>
  new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port))
  })

const urls: BaseUrls = {
  plain: `http://127.0.0.1:${await listen(plain)}/v2`,
  tls: `https://localhost:${await listen(tls)}/v2`
}
process.on("disconnect", () => process.exit(0))
process.send?.(urls)
