import * as Effect from "effect/Effect"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as RateLimits from "../src/layers/RateLimits.js"
import * as Layer from "effect/Layer"
import * as Deferred from "effect/Deferred"
import * as RunPod from "../src/services/RunPod.js"
import * as Jobs from "../src/services/Jobs.js"
import * as waiting from "../src/internal/waiting.js"
import { keeperOf } from "../src/internal/keeper.js"
const N = 10_000
const client = HttpClient.make((request, url) => url.pathname.includes("status-sync") ? Effect.never : Effect.succeed(HttpClientResponse.fromWeb(request, new Response(JSON.stringify({ status: "IN_PROGRESS", delayTime: 3 })))))
const heap = async () => { for (let i = 0; i < 4; i++) { globalThis.gc!(); await new Promise((r) => setTimeout(r, 50)) } return process.memoryUsage().heapUsed }
const mode = process.argv[2]
const program = Effect.gen(function* () {
  const svc = yield* RunPod.RunPod
  const base = yield* Effect.promise(heap)
  const word = yield* Deferred.make<undefined>()
  const one = (i: number): Effect.Effect<unknown, unknown, RunPod.RunPod> =>
    mode === "bare" ? Effect.never : mode === "word" ? waiting.settle({ keeper: keeperOf(svc), endpointId: "ep", jobId: `job-${i}`, ended: Deferred.await(word) }, {})
    : mode === "plain" ? Jobs.settle("ep", `job-${i}`, { poll: { initial: i % 20000, interval: "2 minutes" } }) : Jobs.settle("ep", `job-${i}`)
  for (let i = 0; i < N; i++) yield* Effect.forkDaemon(one(i))
  yield* Effect.sleep(mode === "bare" ? 1000 : 65000)
  const after = yield* Effect.promise(heap)
  console.log(mode, ((after - base) / N / 1024).toFixed(2), "KiB each")
  process.exit(0)
})
Effect.runFork(Effect.provide(program, RunPod.layer({ apiKey: "k", baseUrl: "https://x.test/v2", limits: process.argv[3] === "free" ? RateLimits.make({ status: { limit: Infinity, concurrency: Infinity } }) : RateLimits.documented }).pipe(Layer.provide(Layer.succeed(HttpClient.HttpClient, client)))))
