/** One client in a process of its own: does rounds of requests as it is told, and says what they cost. */
import { clients, variants } from "./clients.js"

export interface Order {
  readonly kind: "status" | "run"
  readonly requests: number
  readonly concurrency: number
}

export interface Figures {
  /** CPU time of the process per request, in microseconds. */
  readonly cpu: number
  readonly perSecond: number
  /** The most memory the process has had, in MiB. */
  readonly peak: number
}

const [, , name = "", plain = "", tls = ""] = process.argv
const make = { ...clients, ...variants }[name]
if (make === undefined) throw new Error(`There is no client "${name}"`)
const client = make({ plain, tls })

const round = async ({ concurrency, kind, requests }: Order): Promise<Figures> => {
  const send = client[kind]
  let left = requests
  const lane = async () => {
    while (left-- > 0) await send()
  }
  const began = process.hrtime.bigint()
  const cpu = process.cpuUsage()
  await Promise.all(Array.from({ length: concurrency }, lane))
  const { system, user } = process.cpuUsage(cpu)
  const seconds = Number(process.hrtime.bigint() - began) / 1e9
  return {
    cpu: (user + system) / requests,
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
