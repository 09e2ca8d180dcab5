import { Effect, Layer, Stream } from "effect"
import * as NodeEmulator from "./src/emulator/NodeEmulator.js"
import * as NodeRunPod from "./src/layers/NodeRunPod.js"
import * as BatchApi from "./src/services/BatchApi.js"
const program = Effect.gen(function* () {
  const server = yield* NodeEmulator.serve({ endpoints: { up: { workers: 60, execution: "5 millis" } } })
  const layer = Layer.provide(BatchApi.layer, NodeRunPod.layer({ apiKey: "key", baseUrl: server.url }))
  yield* Effect.gen(function* () {
    const b = yield* BatchApi.BatchApi
    const { id } = yield* b.create("up")
    const t = (name: string) => <A, E, R>(e: Effect.Effect<A, E, R>) => Effect.timed(e).pipe(Effect.tap(([d]) => Effect.log(name, d.toString())), Effect.map((x) => x[1]))
    yield* b.append("up", id, Array.from({ length: 5000 }, (_, n) => ({ input: { n, pad: "x".repeat(3000) } }))).pipe(t("append"), Effect.tap((r) => Effect.log(r.parts)))
    yield* b.finalize("up", id).pipe(t("finalize"))
    yield* b.settle("up", id, { interval: "50 millis" }).pipe(t("settle"))
    const n = yield* Stream.runCount(b.results("up", id)).pipe(t("results"))
    yield* Effect.log(n)
  }).pipe(Effect.provide(layer))
}).pipe(Effect.scoped)
Effect.runPromise(program).catch(console.error)
