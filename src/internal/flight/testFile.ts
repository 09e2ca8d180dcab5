import { isTerminal } from "../../schemas/JobStatus.js"
import type { Outcome, Recording, TestOptions } from "../../services/Flight.js"
import { outcomesOf } from "./outcomes.js"

const quoted = (text: string): string => JSON.stringify(text)

const list = (texts: ReadonlyArray<string>): string => `[${texts.join(", ")}]`

const countsOf = (outcomes: ReadonlyArray<Outcome>): ReadonlyArray<readonly [string, number]> => {
  const counts = new Map<string, number>()
  for (const { ends } of outcomes) for (const end of ends) counts.set(end, (counts.get(end) ?? 0) + 1)
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1))
}

const open = new Set(["IN_QUEUE", "IN_PROGRESS", "RUNNING", "OTHER", "Unknown"])

/** The program of the test cancels what has not ended in its time, as nobody did it in the recording. */
const cancelled = ({ ends, ...outcome }: Outcome): Outcome => ({
  ...outcome,
  ends: ends.map((end) => (!isTerminal(end) && open.has(end) ? "CANCELLED" : end))
})

/** Submits made-up inputs, as often as each was submitted, and waits for their jobs. */
const programOf = (outcomes: ReadonlyArray<Outcome>, idOf: (name: string) => string): ReadonlyArray<string> => {
  const names = [...new Set(outcomes.map(({ endpoint }) => endpoint))]
  const inputs = names.map((name) => {
    const numbers = outcomes
      .filter(({ endpoint }) => endpoint === name)
      .flatMap(({ ends }, n) => Array.from({ length: Math.max(1, ends.length) }, () => n))
    const isPlain = numbers.every((n, index) => n === index)
    const all = isPlain ? `upTo(${numbers.length})` : list(numbers.map(String))
    return `submit(${quoted(idOf(name))}, ${all})`
  })
  const upTo = "const upTo = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, n) => n)"
  return [
    ...(inputs.some((text) => text.includes("upTo(")) ? [upTo, ""] : []),
    "/** Submits inputs that are made up, in the order of the recording: put your own program in its place. */",
    "const submit = (endpointId: string, inputs: ReadonlyArray<number>) =>",
    "  Effect.gen(function* () {",
    "    const input = Schema.Struct({ n: Schema.Number })",
    "    const endpoint = yield* Endpoint.make(endpointId, { input, output: Schema.Unknown })",
    "    const all = inputs.map((n) => ({ n }))",
    "    return yield* Batch.collect(endpoint, all, { timeout: within / 2 })",
    "  })",
    "",
    ...(inputs.length === 1
      ? [`const program = ${inputs[0]}`]
      : [
          "const program = Effect.all(",
          "  [",
          ...inputs.map((text, i) => `    ${text}${i < inputs.length - 1 ? "," : ""}`),
          "  ],",
          '  { concurrency: "unbounded" }',
          ")"
        ])
  ]
}

/** The text of a test that replays a recording. */
export const write = (recording: Recording, file: string, options: TestOptions): string => {
  const { endpoints = [], program, recordedAt = file } = options
  const idOf = (name: string) => endpoints[Number(name.slice(1)) - 1] ?? name
  const found = outcomesOf(recording)
  const outcomes = program === undefined ? found.map(cancelled) : found
  const length = Math.max(0, ...recording.attempts.map(({ ended }) => ended))
  const worldOptions = [
    ...(endpoints.length === 0 ? [] : [`endpoints: ${list(endpoints.map(quoted))}`]),
    ...(program === undefined && recording.mode === "hash" ? [`inputs: "InOrder"`] : [])
  ]
  const world = worldOptions.length === 0 ? "recording" : `recording, { ${worldOptions.join(", ")} }`
  const imports = program === undefined ? "Batch, Endpoint, Flight" : "Flight"
  const lines = [
    `/** Replays a recording in virtual time: the same jobs and faults, whatever the program asks and when. */`,
    `import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"`,
    `import { assert, it } from "@effect/vitest"`,
    `import { ${imports} } from "effect-runpod"`,
    `import * as Emulator from "effect-runpod/Emulator"`,
    `import { Effect, Fiber, Layer, ${program === undefined ? "Schema, " : ""}TestClock } from "effect"`,
    ...(program === undefined ? [] : [`import { ${program.name} as program } from ${quoted(program.module)}`]),
    "",
    "/** How long the program may take, in milliseconds of its own time: twice as long as the recording, and an hour. */",
    `const within = ${2 * Math.ceil(length) + 3_600_000}`,
    "",
    ...(program === undefined ? [...programOf(outcomes, idOf), ""] : []),
    "/** How the submits of each input ended. */",
    "const outcomes: ReadonlyArray<Flight.Outcome> = [",
    ...outcomes.map(
      ({ endpoint, ends, input }, i) =>
        `  { endpoint: ${quoted(endpoint)}, input: ${quoted(input)}, ends: ${list(ends.map(quoted))} }${i < outcomes.length - 1 ? "," : ""}`
    ),
    "]",
    "",
    "/** How many submits ended in which way. */",
    `const counts = { ${countsOf(outcomes)
      .map(([end, count]) => `${end}: ${count}`)
      .join(", ")} }`,
    "",
    `it.effect(${quoted(options.name ?? "the flight ends as it was recorded")}, () =>`,
    "  Effect.gen(function* () {",
    `    const recording = yield* Flight.read(${quoted(recordedAt)})`,
    "    const replayed = yield* Flight.inMemory()",
    `    const world = Emulator.layerRunPod(Emulator.fromFlight(${world}))`,
    "    const fiber = yield* Effect.fork(Effect.provide(program, Layer.provide(world, replayed.layer)))",
    "    yield* TestClock.adjust(within)",
    "    yield* Fiber.await(fiber)",
    "",
    "    const found = Flight.outcomes(yield* replayed.recording)",
    "    const ends = found.flatMap((outcome) => outcome.ends)",
    "    for (const [end, count] of Object.entries(counts)) {",
    "      assert.strictEqual(ends.filter((other) => other === end).length, count, end)",
    "    }",
    "    assert.deepStrictEqual(found, outcomes)",
    "  }).pipe(Effect.provide(NodeFileSystem.layer))",
    ")",
    ""
  ]
  return lines.join("\n")
}
