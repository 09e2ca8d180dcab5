/**
 * A recording and its replay. A batch runs on the emulator through faults while `Flight.layer` records what goes over the wire. Then
 * the same batch runs in the world of that recording, in virtual time and with other polls, and each item ends as it did. At last the
 * recording writes a test of itself.
 */
import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { Batch, Endpoint, Flight } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { NodeRunPod } from "effect-runpod/Node"
import {
  Array,
  Cause,
  Console,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  LogLevel,
  Option,
  Schema,
  TestClock,
  TestContext
} from "effect"

/** A worker that fails now and then, behind a gateway that does so more often. */
const world: Emulator.RunPodOptions = {
  endpoints: {
    painter: {
      workers: 8,
      handler: ({ seed }) =>
        Effect.delay(
          seed === 7 ? Effect.fail(new Error("CUDA out of memory")) : Effect.succeed("an image"),
          "150 millis"
        )
    }
  },
  faults: [
    Emulator.Fault.serverError({ operations: ["status"], between: { from: "200 millis", until: "600 millis" } }),
    Emulator.Fault.resetAfter({ operations: ["run"], after: 10, times: 2 }),
    Emulator.Fault.rateLimited({ rate: 0.1 })
  ]
}

/** Runs the batch, and says how its items ended. */
const paint = (poll: Batch.Options<unknown>["poll"]) =>
  Effect.gen(function* () {
    const painter = yield* Endpoint.make("painter", {
      input: Schema.Struct({ seed: Schema.Int }),
      output: Schema.String
    })
    const inputs = Array.makeBy(40, (seed) => ({ seed }))
    const { results } = yield* Batch.collect(painter, inputs, { concurrency: 20, poll })
    return Array.map(results, ({ index, result }) =>
      Exit.match(result, {
        onSuccess: () => "completed",
        onFailure: (cause) => `${index} ${Option.getOrNull(Cause.failureOption(cause))?._tag}`
      })
    )
  })

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const file = `${yield* fs.makeTempDirectoryScoped()}/painter.flight`

  const recorded = Layer.provide(Emulator.layerRunPod(world), Flight.layer(file, { keys: ["seed"] }))
  const first = yield* Effect.provide(paint({ initial: "200 millis" }), recorded)
  const { attempts } = yield* Flight.read(file)
  const size = (yield* fs.stat(file)).size
  yield* Console.log(`recorded ${attempts.length} attempts in ${size} bytes`)

  const replayed = Effect.gen(function* () {
    const fiber = yield* Effect.fork(paint({ initial: "50 millis" }))
    yield* TestClock.adjust("10 minutes")
    return yield* Fiber.join(fiber)
  })
  // The world is there before its time begins to pass.
  const replay = Effect.provide(replayed, Emulator.layerFlight(file, { endpoints: ["painter"] }))
  const second = yield* Effect.provide(replay, TestContext.TestContext)
  yield* Console.log(
    `of 40 items ${Array.zip(first, second).filter(([a, b]) => a === b).length} ended as they did before`
  )
  yield* Console.log(first.filter((end) => end !== "completed").join(", "))

  const test = yield* Flight.toTest(file, { endpoints: ["painter"], recordedAt: "painter.flight" })
  yield* Console.log(`a test of ${test.split("\n").length} lines, from: ${test.split("\n")[0]}`)
})

program.pipe(
  Effect.scoped,
  Logger.withMinimumLogLevel(LogLevel.Error),
  Effect.provide(NodeContext.layer),
  NodeRunPod.runMain
)
