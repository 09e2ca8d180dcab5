import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"
import { examples } from "../support/bundle.js"
import { program } from "../support/program.js"
import { node } from "./run.js"

const timeout = 90_000

/** What each example must print. One that is not listed must print something. */
const lines: Readonly<Record<string, ReadonlyArray<string | RegExp>>> = {
  "async-job.ts": [/submitted [\w-]+/, "it is IN_QUEUE", "output: { text: 'drew a red bicycle' }"],
  "batch-api.ts": [
    "120 requests added in 1 call",
    "120 of 120 have ended",
    "119 completed, 1 failed",
    "read all results, 1 of them failures"
  ],
  "batch-failed.ts": [
    /JobFailedError +4\n +e\.g\. Job [\w-]+ on endpoint \w+ failed: Error: CUDA out of memory/,
    /goes on from its journal: 60 settled \(failed ones may run again: `onFailed`\), 0 still at RunPod, 0 to submit/,
    /Completed +59\n +JobFailedError +1\n/,
    "run again: bicycle-7 (2 attempts), bicycle-27 (2 attempts), bicycle-47 (2 attempts)"
  ],
  "batch-file.ts": ["100 lines, the first of them", /"line":\d+,"seed":\d+,"output":\{"image"/],
  "batch-report.ts": [
    "60 of 60 done, 1 failed",
    /Completed +59/,
    /JobFailedError +1/,
    "failed: bicycle-7 (2 attempts)"
  ],
  "batch-resume.ts": [
    /killed after \d+ of 40 outcomes/,
    "40 outcomes in",
    /replayed from the journal: \d+/,
    /jobs submitted by both runs: (40|3\d)/
  ],
  "blob.ts": [
    "inline: PayloadTooLargeError",
    "the handler read 40000000 bytes",
    "its output has 40000000 bytes, each of them 254",
    "download of runpod/not-there in bucket memory: NotFound (HTTP 404, NoSuchKey)"
  ],
  "cancel.ts": ["is CANCELLED", "was cancelled"],
  "chat.ts": [
    /> Why is the sky blue\?\n\(job [\w-]+\)\nAir scatters .* from everywhere\.\n\(14 tokens\)\n/,
    /> And at sunset\?\n\(job [\w-]+\)\nThen the light .* red is left\.\n\(17 tokens\)\n/
  ],
  "cost.ts": [
    /It stopped before its end: Budget/,
    /time on workers \(at least\) +\$0\.00\d+/,
    /stopped by: Budget, with 1\d of 40 outcomes/,
    /time on workers in earlier runs +\$0\.00\d+/,
    /all 40, 1\d of them from the journal/
  ],
  "demo.ts": [
    /IN_PROGRESS \(\d\d %\)/,
    "JobFailedError: Job",
    "CUDA out of memory",
    /photos .*\b60 of 60 done, 1 failed/,
    /Completed +59\n +JobFailedError +1\n/,
    "66 jobs: 64 completed, 2 failed, 0 cancelled, 0 timed out",
    /in the queue( +\d+\.\d\d s){3}/,
    /on a worker( +\d+\.\d\d s){3}/,
    "1 RateLimited",
    "3 ResetBefore",
    "2 Truncated",
    /run +67 +67 +66 +1 +0 +0 +1\n/
  ],
  "flight.ts": [
    /recorded \d+ attempts in \d+ bytes/,
    "of 40 items 40 ended as they did before",
    "7 JobFailedError",
    /a test of \d+ lines/
  ],
  "health.ts": ["jobs: 3 queued", "3 completed"],
  "load-balancer.ts": [
    /worker \w+ has 3 documents\nwithout a session: .*\b0\b.*\nWorkerGoneError: .*\nworker \w+ has 3 documents\n/
  ],
  "local-worker.ts": [
    "call: WHY IS THE SKY BLUE",
    "chunk: AND\nchunk: AT\nchunk: SUNSET",
    /JobFailedError: Job test-.*its own output says why/,
    "BadRequestError: health: there is no such operation, and nothing was sent"
  ],
  "openai-client.ts": [
    "Air scatters blue light more than red",
    /Error: 404 .*The model `no-such-model` does not exist/
  ],
  "otlp.ts": [
    "work\n  Endpoint.call, COMPLETED\n    RunPod.run\n    RunPod.statusSync\n  Endpoint.call, FAILED, JobFailedError\n",
    "  Endpoint.run\n    RunPod.run\n  JobHandle.result, COMPLETED, linked to its submit\n    RunPod.statusSync\n",
    /Batch\.run\n( {4}Batch\.item, COMPLETED\n( {6}RunPod\.run\w*\n| {6}RunPod\.status\w*\n)+){2}/,
    "runpod_jobs_submitted  5\nrunpod_jobs_ended COMPLETED 4\nrunpod_jobs_ended FAILED 1\n"
  ],
  "progress.ts": ["IN_QUEUE", "IN_PROGRESS: 25 %", "IN_PROGRESS: 50 %", "IN_PROGRESS: 75 %", "COMPLETED", "output: {"],
  "promise.ts": [
    "output: { text: 'drew a red bicycle' }",
    "chunk: Once\nchunk: upon\naborted: TimeoutError",
    "a blue bicycle: drew a blue bicycle",
    "a bicycle too large: JobFailedError"
  ],
  "purge-queue.ts": ["removed 3 queued jobs", "0 queued, 1 running"],
  "rate-limit.ts": ["at 0 s: 100 requests\nat 60 s: 100 requests\n"],
  "retry.ts": ["output: { text: 'drew a red bicycle' }", "the endpoint is well", "SubmitAmbiguousError"],
  "batch-cluster.ts": [
    /killed after [1-5]\d of 60 outcomes/,
    /[2-6]\d completed, 0 open/,
    /jobs submitted by both: (60|[45]\d)/
  ],
  "sql-journal.ts": [
    /killed after [1-4]\d of 40 outcomes/,
    "40 outcomes in",
    /replayed from the journal: [1-4]\d/,
    /outcomes in the database: (40|3\d)/,
    /jobs submitted by both runs: (40|3\d)/
  ],
  "sql-webhooks.ts": [
    "delivery 1: COMPLETED\ndelivery 2: COMPLETED\ndelivery 3: COMPLETED",
    "{ text: 'drew a green bicycle' }"
  ],
  "sse-server.ts": ['data: "Air"\ndata: " scatters"\ndata: " blue"\nthe browser is gone\nits job is CANCELLED\n'],
  "streaming.ts": ["Air scatters blue light more than red", "3 tokens are enough", /14 tokens in \d+ ms/],
  "structured-batch.ts": [
    "996 of 1000 objects in",
    "333 complaints",
    /Review 17: .*\n {2}UnfinishedAnswerError: The answer was cut off/,
    /Review 170: .*\n {2}not what the schema says: Expected a number between 1 and 5, actual 11/,
    /Review 333: .*\n {2}WorkerError: .*CUDA out of memory/,
    /Review 700: .*\n {2}not what the schema says: .*is not valid JSON/
  ],
  "sync-job.ts": ["call: { text: 'drew a red bicycle' }", "runSync: { text: 'drew a blue bicycle' }"],
  "ten-jobs.ts": ["9 completed, 1 failed", "JobFailedError: Job", "CUDA out of memory"],
  "timeout.ts": [/WaitTimeoutError: Job .* after 1s/, "the interrupted job is CANCELLED"],
  "typed-endpoint.ts": [
    "images.example.com has /1.png, drawn in 1s 234ms",
    "BadRequestError: the input is not what its schema says",
    "OutputDecodeError: { image_url: 'https://images.example.com/1.png' }"
  ],
  "webhook-fetch.ts": [
    "POST /hooks is answered with 200",
    "output: { text: 'drew a red bicycle' }",
    "a forged one is answered with 401"
  ],
  "webhook-router.ts": [/ordered [\w-]+/, "picture: { text: 'drew a red bicycle' }"],
  "webhook-server.ts": [
    /(webhook: job [\w-]+ is COMPLETED\n[^]*){3}/,
    "{ text: 'drew a green bicycle' }",
    "delivered: COMPLETED, for the input { prompt: 'a last bicycle' }"
  ]
}

describe.concurrent("an example runs by itself:", () => {
  for (const file of examples) {
    it.live(
      file,
      () =>
        Effect.gen(function* () {
          const { code, output } = yield* node([program(file.slice(0, -".ts".length))])
          assert.strictEqual(code, 0, output)
          assert.notStrictEqual(output, "")
          for (const line of lines[file] ?? []) {
            if (typeof line === "string") assert.include(output, line)
            else assert.match(output, line)
          }
        }),
      { timeout }
    )
  }
})

it.scopedLive(
  "chat.ts: Ctrl-C cancels the job that is being answered",
  () =>
    Effect.gen(function* () {
      const server = yield* NodeEmulator.serve({
        apiKey: "the-key",
        endpoints: {
          llm: {
            handler: Emulator.handler.vllm({ model: "my/model", reply: () => "word ".repeat(600), perToken: 100 })
          }
        }
      })
      const variables = {
        RUNPOD_API_KEY: "the-key",
        RUNPOD_ENDPOINT_ID: "llm",
        RUNPOD_MODEL: "my/model",
        RUNPOD_BASE_URL: server.url
      }
      const { code, output } = yield* node([program("chat"), "Say it"], variables, undefined, "word word")
      assert.strictEqual(code, 130, output)
      const jobs = yield* server.jobs("llm")
      assert.deepStrictEqual(
        jobs.map(({ status }) => status),
        ["CANCELLED"]
      )
      const [, id] = /\(job (\S+)\)\nword word/.exec(output) ?? []
      assert.strictEqual(id, jobs[0]?.id)
      assert.include(output, `interrupted: job ${id} is CANCELLED`)
      assert.strictEqual((yield* server.counts).byOperation.cancel.total, 1)
    }),
  { timeout }
)

it("no example is missing", () =>
  assert.deepStrictEqual(
    Object.keys(lines).filter((file) => !examples.includes(file)),
    []
  ))

describe.concurrent("with RUNPOD_API_KEY and RUNPOD_ENDPOINT_ID set", () => {
  const runPod = NodeEmulator.serve({
    apiKey: "the-key",
    endpoints: { mine: { handler: ({ prompt }) => Effect.succeed({ seen: prompt }) } }
  })
  const variables = (url: string) => ({ RUNPOD_API_KEY: "the-key", RUNPOD_ENDPOINT_ID: "mine", RUNPOD_BASE_URL: url })

  it.scopedLive(
    "an example goes to RunPod",
    () =>
      Effect.gen(function* () {
        const server = yield* runPod
        const { code, output } = yield* node([program("sync-job")], variables(server.url))
        assert.strictEqual(code, 0, output)
        assert.include(output, "call: { seen: 'a red bicycle' }")
        assert.strictEqual((yield* server.counts).submitted, 2)
      }),
    { timeout }
  )

  it.scopedLive(
    "a failure says why, never the key, and is an exit code",
    () =>
      Effect.gen(function* () {
        const server = yield* runPod
        const { code, output } = yield* node([program("sync-job")], {
          ...variables(server.url),
          RUNPOD_API_KEY: "another-key"
        })
        assert.strictEqual(code, 1, output)
        assert.include(output, "AuthenticationError")
        assert.notInclude(output, "another-key")
      }),
    { timeout }
  )
})
