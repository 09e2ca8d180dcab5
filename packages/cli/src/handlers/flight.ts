import * as Files from "effect-runpod/Files"
import * as Flight from "effect-runpod/Flight"
import * as Effect from "effect/Effect"
import { check, read } from "../shell/files.js"
import { Output } from "../shell/output.js"

interface FileArgs {
  readonly file: string
}

interface TestArgs extends FileArgs {
  readonly name: string | undefined
  readonly recordedAt: string | undefined
  readonly endpoints: ReadonlyArray<string>
}

const checkRecording = (file: string) => Effect.zipRight(check(read("the recording", file)), Files.checkReadable(file))

const countBy = <A>(values: ReadonlyArray<A>, nameOf: (value: A) => string): Readonly<Record<string, number>> => {
  const counts = new Map<string, number>()
  for (const value of values) counts.set(nameOf(value), (counts.get(nameOf(value)) ?? 0) + 1)
  return Object.fromEntries(counts)
}

export const inspect = Effect.fnUntraced(function* ({ file }: FileArgs) {
  const output = yield* Output
  yield* checkRecording(file)
  const recording = yield* Flight.read(file)
  const { attempts, deliveries, lost, mode } = recording
  const outcomes = Flight.outcomes(recording)
  const operations = countBy(attempts, ({ operation }) => operation)
  const numbers = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ")
  const text = [
    `${attempts.length} requests (${numbers(operations)}), ${deliveries.length} deliveries, ${lost} records lost, mode ${mode}`,
    ...outcomes.map(({ endpoint, ends, input }) => `${endpoint} ${input}: ${ends.join(", ")}`)
  ]
  yield* output.one(
    { mode, requests: attempts.length, operations, deliveries: deliveries.length, lost, outcomes },
    text.join("\n")
  )
})

export const toTest = Effect.fnUntraced(function* ({ endpoints, file, name, recordedAt }: TestArgs) {
  const output = yield* Output
  yield* checkRecording(file)
  const test = yield* Flight.toTest(file, { name, recordedAt, ...(endpoints.length === 0 ? {} : { endpoints }) })
  yield* output.one({ test }, test.trimEnd())
})
