/** Replays a recording in virtual time: the same jobs and faults, whatever the program asks and when. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, it } from "@effect/vitest"
import { Batch, Endpoint, Flight } from "effect-runpod"
import * as Emulator from "effect-runpod/Emulator"
import { Effect, Fiber, Layer, Schema, TestClock } from "effect"

/** How long the program may take, in milliseconds of its own time: twice as long as the recording, and an hour. */
const within = 3614542

const upTo = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, n) => n)

/** Submits inputs that are made up, in the order of the recording: put your own program in its place. */
const submit = (endpointId: string, inputs: ReadonlyArray<number>) =>
  Effect.gen(function* () {
    const input = Schema.Struct({ n: Schema.Number })
    const endpoint = yield* Endpoint.make(endpointId, { input, output: Schema.Unknown })
    const all = inputs.map((n) => ({ n }))
    return yield* Batch.collect(endpoint, all, { timeout: within / 2 })
  })

const program = submit("captioner", upTo(8))

/** How the submits of each input ended. */
const outcomes: ReadonlyArray<Flight.Outcome> = [
  { endpoint: "e1", input: "i1", ends: ["COMPLETED"] },
  { endpoint: "e1", input: "i2", ends: ["COMPLETED"] },
  { endpoint: "e1", input: "i3", ends: ["COMPLETED"] },
  { endpoint: "e1", input: "i4", ends: ["FAILED"] },
  { endpoint: "e1", input: "i5", ends: ["COMPLETED"] },
  { endpoint: "e1", input: "i6", ends: ["Ambiguous"] },
  { endpoint: "e1", input: "i7", ends: ["COMPLETED"] },
  { endpoint: "e1", input: "i8", ends: ["COMPLETED"] }
]

/** How many submits ended in which way. */
const counts = { Ambiguous: 1, COMPLETED: 6, FAILED: 1 }

it.effect("the flight ends as it was recorded", () =>
  Effect.gen(function* () {
    const recording = yield* Flight.read("examples/testing/flight.jsonl")
    const replayed = yield* Flight.inMemory()
    const world = Emulator.layerRunPod(Emulator.fromFlight(recording, { endpoints: ["captioner"] }))
    const fiber = yield* Effect.fork(Effect.provide(program, Layer.provide(world, replayed.layer)))
    yield* TestClock.adjust(within)
    yield* Fiber.await(fiber)

    const found = Flight.outcomes(yield* replayed.recording)
    const ends = found.flatMap((outcome) => outcome.ends)
    for (const [end, count] of Object.entries(counts)) {
      assert.strictEqual(ends.filter((other) => other === end).length, count, end)
    }
    assert.deepStrictEqual(found, outcomes)
  }).pipe(Effect.provide(NodeFileSystem.layer))
)
