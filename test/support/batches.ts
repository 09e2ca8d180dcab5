/** What the tests of batches share. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Emulator from "../../src/emulator/Emulator.js"
import type * as Batch from "../../src/services/Batch.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import type * as RunPod from "../../src/services/RunPod.js"

export interface Numbered {
  readonly n: number
}

const Numbered = Schema.Struct({ n: Schema.Number })

/** An endpoint of the emulator that takes and returns `{ n }`. */
export const endpoint = Endpoint.make("ep", { input: Numbered, output: Numbered })

export const inputs = (count: number, from = 0): ReadonlyArray<Numbered> =>
  Array.from({ length: count }, (_, i) => ({ n: from + i }))

/** An emulator with that endpoint, and the client on it. */
export const emulated = (
  endpoint: Emulator.EndpointOptions,
  options: Omit<Emulator.RunPodOptions, "endpoints"> = {}
): Layer.Layer<RunPod.RunPod | Emulator.Emulator> => Emulator.layerRunPod({ endpoints: { ep: endpoint }, ...options })

/** How an outcome came out: the tag of its error, or `Completed`. */
export const kindOf = ({ result }: Batch.Outcome<unknown, unknown>): string =>
  Exit.match(result, {
    onSuccess: () => "Completed",
    onFailure: (cause) =>
      Option.match(Cause.failureOption(cause), { onNone: () => "Defect", onSome: ({ _tag }) => _tag })
  })

/** How many jobs each input got, by `n`. */
export const jobsPerInput = Effect.flatMap(Emulator.Emulator, (emulator) =>
  Effect.map(emulator.jobs("ep"), (jobs) => {
    const counts = new Map<number, number>()
    for (const { input } of jobs) counts.set(Number(input["n"]), (counts.get(Number(input["n"])) ?? 0) + 1)
    return counts
  })
)

/** How many jobs there are of each status. */
export const statuses = Effect.flatMap(Emulator.Emulator, (emulator) =>
  Effect.map(emulator.jobs("ep"), (jobs) => {
    const counts: Record<string, number> = {}
    for (const { status } of jobs) counts[status] = (counts[status] ?? 0) + 1
    return counts
  })
)

export const counts = Effect.flatMap(Emulator.Emulator, (emulator) => emulator.counts)
