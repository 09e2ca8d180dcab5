/** One client in a process of its own: does rounds of requests as it is told, and says what they cost. */
import { setTimeout } from "node:timers/promises"
import { GCProfiler } from "node:v8"
import { clients, jobIdOf, type Kind, variants } from "./clients.js"

export interface Order {
  readonly kind: Kind
  readonly requests: number
  readonly concurrency: number
}

export interface Figures {
  /** CPU time of the process per request, in microseconds. */
  readonly cpu: number
  /** The pauses of the garbage collector per request, in microseconds. */
  readonly collector: number
  /** What the collector moved to the old generation per request, in bytes. */
  readonly promoted: number
  readonly perSecond: number
  /** The most memory the process has had, in MiB. */
  readonly peak: number
}

const [, , name = "", plain = "", tls = ""] = process.argv
const make = { ...clients, ...variants }[name]
if (make === undefined) throw new Error(`There is no client "${name}"`)
const client = make({ plain, tls })

const sendAll = async (kind: Kind, requests: number, concurrency: number): Promise<void> => {
  if ("sendAll" in client) {
    await client.sendAll(kind, requests, concurrency)
    return
  }
  const jobId = jobIdOf(kind)
  let left = requests
  const loop = async () => {
    while (left-- > 0) await (jobId === undefined ? client.run() : client.status(jobId))
  }
  await Promise.all(Array.from({ length: concurrency }, loop))
}

type Collections = ReturnType<GCProfiler["stop"]>["statistics"]

const oldSpace = ({ heapSpaceStatistics }: Collections[number]["beforeGC"]): number =>
  heapSpaceStatistics.find(({ spaceName }) => spaceName === "old_space")?.spaceUsedSize ?? 0

const promotedBy = (collections: Collections): number =>
  collections
    .filter(({ gcType }) => gcType === "Scavenge")
    .reduce((sum, { afterGC, beforeGC }) => sum + oldSpace(afterGC) - oldSpace(beforeGC), 0)

const round = async ({ concurrency, kind, requests }: Order): Promise<Figures> => {
  const profiler = new GCProfiler()
  profiler.start()
  const began = process.hrtime.bigint()
  const cpu = process.cpuUsage()
  await sendAll(kind, requests, concurrency)
  const { system, user } = process.cpuUsage(cpu)
  const seconds = Number(process.hrtime.bigint() - began) / 1e9
  const collections = profiler.stop().statistics
  // Connections and timers of this round come to rest outside of the next one.
  await setTimeout(5)
  return {
    cpu: (user + system) / requests,
    collector: collections.reduce((sum, { cost }) => sum + cost, 0) / requests,
    promoted: promotedBy(collections) / requests,
    perSecond: requests / seconds,
    peak: process.resourceUsage().maxRSS / 1024
  }
}

process.on("message", (order: Order) => {
  round(order).then(
    (figures) => process.send?.(figures),
    (error: unknown) => {
      console.error(name, error)
      process.exit(1)
    }
  )
})
process.on("disconnect", () => process.exit(0))
process.send?.("ready")
