/**
 * The fastest server that still speaks HTTP/1.1 properly: canned answers, in a process of its own, so that its CPU time is
 * not counted. Prints its port.
 */
import { createServer } from "node:http"
import { jobBody, submitBody } from "./bodies.js"

const job = Buffer.from(jobBody)
const submitted = Buffer.from(submitBody)

const server = createServer((request, response) => {
  const answer = (body: Buffer) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": body.byteLength })
    response.end(body)
  }
  if (request.method === "GET") return answer(job)
  request.resume()
  request.on("end", () => answer(submitted))
})
server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  process.send?.(address !== null && typeof address === "object" ? address.port : 0)
})
process.on("disconnect", () => process.exit(0))
