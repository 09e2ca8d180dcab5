/** What a waiting job costs in memory, beside a bare fiber. */
import { nextMessage, start } from "../processes.js"
import type { Heap } from "./worker.js"

export const measureHeap = async (waiters: number): Promise<Heap> => {
  const server = start(new URL("./server.ts", import.meta.url), [])
  const port = await nextMessage<number>(server)
  const worker = start(new URL("./worker.ts", import.meta.url), [
    `http://127.0.0.1:${String(port)}/v2`,
    String(waiters)
  ])
  const heap = await nextMessage<Heap>(worker)
  server.disconnect()
  return heap
}
