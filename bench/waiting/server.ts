/** Jobs that never end: `/status-sync` holds, `/status` says IN_PROGRESS. Prints its port to its parent. */
import { createServer } from "node:http"

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://localhost")
  const answer = () => {
    const body = JSON.stringify({ id: url.pathname.split("/").at(-1), status: "IN_PROGRESS", delayTime: 812 })
    response.writeHead(200, { "content-type": "application/json", "content-length": body.length })
    response.end(body)
  }
  const wait = Number(url.searchParams.get("wait") ?? 0)
  const timer = setTimeout(answer, wait)
  response.on("close", () => clearTimeout(timer))
})
server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  process.send?.(address !== null && typeof address === "object" ? address.port : 0)
})
process.on("disconnect", () => process.exit(0))
