import { it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { NodeEmulator, NodeRunPod } from "../../src/Node.js"
import { RunPod } from "../../src/services/RunPod.js"

it.scopedLive("scratch", () =>
  Effect.gen(function* () {
    const server = yield* NodeEmulator.serve({ endpoints: { a: {}, slow: {execution: 500}, s: {handler: () => Stream.range(1, 3)} } })
    console.log(server.url)
    yield* Effect.gen(function* () {
      const runPod = yield* RunPod
      const job = yield* runPod.run("a", { input: { x: 1 } })
      console.log(yield* runPod.status("a", job.id))
      console.log(yield* runPod.runSync("slow", { input: { x: 1 } }))
      console.log(yield* Stream.runCollect(runPod.stream("s", (yield* runPod.run("s", { input: { x: 1 } })).id)))
    }).pipe(Effect.provide(NodeRunPod.layer({ apiKey: "k", baseUrl: server.url })))
  })
)
