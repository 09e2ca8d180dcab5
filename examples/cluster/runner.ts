/** A process that works on batches until it is stopped. Each that begins says which batch there is: the same one again changes nothing. */
import { NodeRunPod } from "effect-runpod/Node"
import { Redis } from "effect-runpod-cluster"
import { Config, Effect, Layer, Option } from "effect"
import { batchId, bicycles, inputs, services } from "./bicycles.js"

const program = Effect.gen(function* () {
  const id = yield* batchId
  yield* bicycles.start(id, inputs)
  yield* Effect.log(`Working on batch ${id}`)
  const ended = Effect.gen(function* () {
    yield* bicycles.awaitEnd(id)
    const { counts } = yield* bicycles.report(id)
    yield* Effect.log(`Batch ${id} has ended: ${JSON.stringify(counts)}. This process works on until it is stopped`)
  })
  yield* Effect.fork(Effect.ignoreLogged(ended))
  return yield* Effect.never
})

/** RunPod, with limits that all processes share where REDIS_URL is set. */
const runPod = Layer.unwrapEffect(
  Effect.map(Config.option(Config.redacted("REDIS_URL")), (url) =>
    Option.isNone(url)
      ? NodeRunPod.layerConfig()
      : NodeRunPod.layerConfig().pipe(Layer.provide(Redis.layer({ url: url.value })))
  )
)

NodeRunPod.runMain(
  Effect.provide(program, bicycles.layer.pipe(Layer.provideMerge(services), Layer.provideMerge(runPod)))
)
