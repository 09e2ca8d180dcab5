/** Processes that work on one batch together, and are killed, stopped, ended, or have another time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Emulator from "effect-runpod/Emulator"
import {
  check,
  type Cluster,
  longestPause,
  makeCluster,
  numbered,
  say,
  serve,
  submitted,
  usual
} from "./support/clusters.js"
import { postgresUrl } from "./support/databases.js"
import type { Running } from "./support/processes.js"

const { Fault } = Emulator

/** Sends a signal, and gives how many submits were under way then, and when that was. */
const signal = ({ look }: Cluster, { child }: Running, name: NodeJS.Signals) =>
  Effect.suspend(() => {
    child.kill(name)
    const at = performance.now()
    return Effect.map(look, ({ intents }) => ({ at, intents }))
  })

/** When the first and the last chunk was taken over that an owner had left, in seconds after a moment. */
const takeoversIn = ({ takenAt }: Cluster, from: number) => {
  const times = [...takenAt.values()].filter((at) => at > from)
  assert.isAbove(times.length, 0, "no chunk was taken over")
  return { first: (Math.min(...times) - from) / 1_000, last: (Math.max(...times) - from) / 1_000 }
}

describe("a cluster of processes", () => {
  it.scopedLive(
    "of which one is killed and another stopped, under faults of all kinds, gives each input one outcome and none a second job",
    () =>
      Effect.gen(function* () {
        const count = 2_000
        const waits = ["status", "statusSync"] as const
        const lost = { operations: ["run"], times: 3 } as const
        const server = yield* serve(
          [
            Fault.resetAfter({ ...lost, after: 100 }),
            Fault.truncated({ ...lost, after: 300 }),
            Fault.stall({ ...lost, after: 500 }),
            Fault.hang({ ...lost, after: 700, processed: true }),
            Fault.serverError({ ...lost, after: 900, processed: true }),
            Fault.resetAfter({ operations: waits, rate: 0.01 }),
            Fault.truncated({ operations: waits, rate: 0.01 }),
            Fault.serverError({ operations: waits, rate: 0.01 }),
            Fault.stall({ operations: waits, times: 10, after: 200 }),
            Fault.rateLimited({ rate: 0.003 })
          ],
          "judged"
        )
        const cluster = yield* makeCluster(server, { ...usual, pg: postgresUrl() })
        const runners = yield* cluster.threeRunners()
        yield* cluster.start(numbered(count))
        assert.deepStrictEqual(yield* cluster.parts, [16, 17, 17])
        yield* submitted(server, 500)
        const killed = yield* signal(cluster, runners[0], "SIGKILL")
        yield* submitted(server, 800)
        const stopped = yield* signal(cluster, runners[1], "SIGSTOP")
        yield* Effect.sleep("13 seconds")
        runners[1].child.kill("SIGCONT")
        yield* cluster.end
        const ambiguous = yield* check(server, cluster, count)
        const figures = {
          ambiguous,
          underway: killed.intents + stopped.intents,
          pause: longestPause(cluster) / 1_000,
          ...takeoversIn(cluster, killed.at)
        }
        yield* say("one of three killed, one stopped", figures)
        assert.isAtMost(ambiguous, 15 + killed.intents + stopped.intents)
        assert.isBelow(figures.pause, 20)
      }),
    240_000
  )
  it.scopedLive(
    "whose clocks are half a minute apart, and of which two are killed, goes on with the third, which takes over in seconds",
    () =>
      Effect.gen(function* () {
        const count = 700
        const server = yield* serve([], "two of three")
        const cluster = yield* makeCluster(server, { ...usual, pg: postgresUrl() })
        const runners = yield* cluster.threeRunners([{ ahead: 30_000 }, {}, { ahead: -30_000 }])
        yield* cluster.start(numbered(count))
        yield* submitted(server, 300)
        const first = yield* signal(cluster, runners[0], "SIGKILL")
        const second = yield* signal(cluster, runners[1], "SIGKILL")
        yield* cluster.end
        const ambiguous = yield* check(server, cluster, count)
        const pause = longestPause(cluster) / 1_000
        const takeovers = takeoversIn(cluster, first.at)
        yield* say("two of three killed", { ambiguous, underway: second.intents, pause, ...takeovers })
        assert.isAtMost(ambiguous, second.intents)
        assert.isBelow(pause, 20)
      }),
    240_000
  )

  it.scopedLive(
    "of which one ends (SIGTERM) has nothing in doubt, and the others go on with its chunks at once",
    () =>
      Effect.gen(function* () {
        const count = 500
        const server = yield* serve([], "ended")
        const cluster = yield* makeCluster(server, { ...usual, pg: postgresUrl() })
        const runners = yield* cluster.threeRunners()
        yield* cluster.start(numbered(count))
        yield* submitted(server, 250)
        const { at } = yield* signal(cluster, runners[0], "SIGTERM")
        assert.strictEqual(yield* runners[0].ended, 143, runners[0].output())
        const end = (performance.now() - at) / 1_000
        yield* cluster.end
        assert.strictEqual(yield* check(server, cluster, count), 0)
        yield* say("one of three ended", { end, pause: longestPause(cluster) / 1_000 })
        assert.strictEqual(cluster.takenAt.size, 0)
        assert.isBelow(end, 10)
      }),
    240_000
  )

  it.scopedLive(
    "print no warning of what they ask the database, while others begin, take a part of the work, and end",
    () =>
      Effect.gen(function* () {
        const count = 300
        const server = yield* serve([], "warned")
        const cluster = yield* makeCluster(server, { ...usual, chunkSize: 10, pg: postgresUrl() })
        // The first one has all shards, and gives most of them away at once.
        const first = yield* cluster.runner()
        yield* cluster.start(numbered(count))
        yield* submitted(server, 50)
        const others = yield* Effect.all([cluster.runner(), cluster.runner()], { concurrency: 2 })
        yield* submitted(server, 150)
        yield* signal(cluster, first, "SIGTERM")
        assert.strictEqual(yield* first.ended, 143, first.output())
        yield* cluster.end
        assert.strictEqual(yield* check(server, cluster, count), 0)
        for (const { child, ended } of others) {
          child.kill("SIGTERM")
          yield* ended
        }
        for (const { output } of [first, ...others]) assert.notInclude(output(), "DeprecationWarning")
      }),
    240_000
  )
})
