/** Lets many fibers wait, and says what each holds in memory. */
import { Jobs, RunPod } from "effect-runpod"
import { NodeRunPod } from "effect-runpod/Node"
import { Effect, Fiber, ManagedRuntime } from "effect"

export interface Heap {
  /** Bytes of heap for each waiting job. */
  readonly job: number
  /** Bytes of heap for each fiber that only waits. */
  readonly fiber: number
  /** CPU time for each job over the whole minute, in microseconds. */
  readonly cpu: number
}

const [, , baseUrl = "", count = "10000"] = process.argv
const waiters = Number(count)

const heap = async (): Promise<number> => {
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return process.memoryUsage().heapUsed
}

const held = async (
  start: () => ReadonlyArray<Fiber.RuntimeFiber<unknown, unknown>>,
  millis: number
): Promise<number> => {
  const before = await heap()
  const fibers = start()
  await new Promise((resolve) => setTimeout(resolve, millis))
  const after = await heap()
  const bytes = (after - before) / fibers.length
  await Effect.runPromise(Fiber.interruptAll(fibers))
  return bytes
}

const runtime = ManagedRuntime.make(NodeRunPod.layer({ apiKey: "rpa_BENCHMARK", baseUrl }))
await runtime.runPromise(Effect.flatMap(RunPod.RunPod, (runpod) => runpod.status("ep", "warm-up")))

const fiber = await held(() => Array.from({ length: waiters }, () => runtime.runFork(Effect.sleep("1 hour"))), 1_000)
const cpu = process.cpuUsage()
const job = await held(
  () => Array.from({ length: waiters }, (_, index) => runtime.runFork(Jobs.settle("ep", `job-${index}`))),
  60_000
)
const { system, user } = process.cpuUsage(cpu)
const figures: Heap = { job, fiber, cpu: (system + user) / waiters }
process.send?.(figures)
process.disconnect()
process.exit(0)
