/**
 * Without Effect: promises, signals and `for await`. `createClient` of `effect-runpod/Promise` does the same over `fetch`, on any platform.
 */
import { NodeEmulator, NodePromise } from "effect-runpod/Node"
import { Effect, Stream } from "effect"

interface Prompt {
  readonly prompt: string
}
interface Picture {
  readonly text: string
}

const { RUNPOD_API_KEY, RUNPOD_ENDPOINT_ID } = process.env

const main = async (endpointId: string, options?: NodePromise.ClientOptions) => {
  // With `await using` of TypeScript 5.2 it closes by itself.
  const client = NodePromise.createClient(options)
  try {
    const painter = client.endpoint<Prompt, Picture, string>(endpointId)
    console.log("output:", await painter.call({ prompt: "a red bicycle" }, { timeout: "5 minutes" }))

    // Who has read enough breaks: the job is cancelled, and bills no longer.
    let count = 0
    for await (const chunk of painter.stream({ prompt: "a story" })) {
      console.log("chunk:", chunk)
      if (++count === 2) break
    }

    // An abort rejects with the signal's reason, when the job has been cancelled.
    const aborted = painter.call({ prompt: "a cathedral" }, { signal: AbortSignal.timeout(500) })
    console.log("aborted:", await aborted.catch((error: unknown) => (error instanceof Error ? error.name : error)))

    const prompts = ["a blue bicycle", "a bicycle too large", "a green bicycle"].map((prompt) => ({ prompt }))
    for await (const outcome of painter.batch(prompts, { concurrency: 10, key: ({ prompt }) => prompt })) {
      console.log(`${outcome.key}:`, outcome.ok ? outcome.value.text : outcome.error._tag)
    }
  } finally {
    await client.close()
  }
}

if (RUNPOD_API_KEY !== undefined && RUNPOD_ENDPOINT_ID !== undefined) {
  await main(RUNPOD_ENDPOINT_ID)
} else {
  // Without an account it runs on an emulator. Your program needs none of this, and no Effect.
  const painting = ({ prompt }: Readonly<Record<string, unknown>>) => {
    if (prompt === "a story") return Stream.make("Once", "upon", "a", "time").pipe(Stream.tap(() => Effect.sleep(200)))
    if (prompt === "a bicycle too large") return Effect.fail("CUDA out of memory")
    return Effect.delay(Effect.succeed({ text: `drew ${String(prompt)}` }), prompt === "a cathedral" ? "1 hour" : 200)
  }
  const emulated = Effect.gen(function* () {
    const { url } = yield* NodeEmulator.serve({ endpoints: { painter: { handler: painting } } })
    yield* Effect.promise(() => main("painter", { apiKey: "any-key-will-do", baseUrl: url }))
  })
  await Effect.runPromise(Effect.scoped(emulated))
}
