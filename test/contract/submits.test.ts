import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { createServer, type IncomingMessage, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import type { RunPodError } from "../../src/errors/RunPodError.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import * as RateLimits from "../../src/layers/RateLimits.js"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as Endpoint from "../../src/services/Endpoint.js"
import * as RunPod from "../../src/services/RunPod.js"

const textOf = async (request: IncomingMessage): Promise<string> => {
  let text = ""
  for await (const chunk of request.setEncoding("utf8")) text += String(chunk)
  return text
}

/**
 * A server of our own that takes jobs, and loses the reply to 5 %, resets 5 % before it has taken them, and answers 503 to
 * 5 % and 429 to 2 %. It notes how often it took each input.
 */
const makeServer = (dice: () => number) => {
  const taken = new Map<number, Array<string>>()
  const seen = { requests: 0, lost: 0, resets: 0, unavailable: 0, throttled: 0 }
  const server = createServer((request, response) => {
    void textOf(request).then((text) => {
      const roll = dice()
      seen.requests++
      const fail = (status: number, headers: Record<string, string> = {}) => {
        response.writeHead(status, headers).end()
      }
      if (roll < 0.05) {
        seen.resets++
        request.socket.resetAndDestroy()
        return
      }
      if (roll < 0.1) {
        seen.unavailable++
        fail(503)
        return
      }
      if (roll < 0.12) {
        seen.throttled++
        fail(429, { "retry-after": "0.05" })
        return
      }
      const { input } = JSON.parse(text) as { readonly input: { readonly n: number } }
      const id = `job-${input.n}`
      taken.set(input.n, [...(taken.get(input.n) ?? []), id])
      if (roll < 0.17) {
        seen.lost++
        request.socket.destroy()
        return
      }
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ id, status: "IN_QUEUE" }))
    })
  })
  return { server, taken, seen }
}

const listening = (server: Server) =>
  Effect.acquireRelease(
    Effect.async<string>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        resume(Effect.succeed(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v2`))
      })
    }),
    () =>
      Effect.async<void>((resume) => {
        server.closeAllConnections()
        server.close(() => resume(Effect.void))
      })
  )

type Submit = (n: number) => Effect.Effect<string, RunPodError>

const ways: ReadonlyArray<readonly [name: string, count: number, Effect.Effect<Submit, never, RunPod.RunPod>]> = [
  [
    "RunPod.run",
    800,
    Effect.map(
      RunPod.RunPod,
      (runPod): Submit =>
        (n) =>
          Effect.map(runPod.run("ep", { input: { n } }), ({ id }) => id)
    )
  ],
  [
    "Endpoint.run",
    500,
    Effect.map(
      Endpoint.make("ep", { input: Schema.Struct({ n: Schema.Number }), output: Schema.Unknown }),
      (endpoint): Submit =>
        (n) =>
          Effect.map(endpoint.run({ n }), ({ id }) => id)
    )
  ]
]

describe("submits through lost replies, resets, 503s and 429s over HTTP", () => {
  for (const [name, count, way] of ways) {
    it.scopedLive(`${count} with ${name}: none is taken twice, and each is a job or may be one`, () =>
      Effect.gen(function* () {
        const random = Random.make(name)
        const { seen, server, taken } = makeServer(() => Effect.runSync(random.next))
        const baseUrl = yield* listening(server)
        const layer = NodeRunPod.layer({
          apiKey: "key",
          baseUrl,
          retry: RetryPolicy.make({ base: "10 millis", budget: Infinity }),
          limits: RateLimits.make({ run: { limit: Infinity, concurrency: 100 } })
        })
        const outcomes = yield* Effect.provide(
          Effect.flatMap(way, (submit) =>
            Effect.forEach(
              Array.from({ length: count }, (_, n) => n),
              (n) => Effect.either(submit(n)),
              { concurrency: "unbounded" }
            )
          ),
          layer
        )

        const sums = { jobs: 0, ambiguous: 0, refused: 0 }
        for (const [n, outcome] of outcomes.entries()) {
          const ids = taken.get(n) ?? []
          assert.isAtMost(ids.length, 1, `input ${n} was taken ${ids.length} times`)
          if (Either.isRight(outcome)) {
            sums.jobs++
            assert.deepStrictEqual(ids, [outcome.right])
          } else if (outcome.left._tag === "SubmitAmbiguousError") {
            sums.ambiguous++
          } else {
            sums.refused++
            assert.strictEqual(outcome.left._tag, "RateLimitedError")
            assert.deepStrictEqual(ids, [])
          }
        }
        assert.strictEqual(sums.jobs + sums.ambiguous + sums.refused, count)
        // Every fault came, each ambiguous outcome is one of the three that leave doubt, and each 429 was sent again.
        assert.isAbove(Math.min(seen.lost, seen.resets, seen.unavailable, seen.throttled), 3)
        assert.strictEqual(sums.ambiguous, seen.lost + seen.resets + seen.unavailable)
        assert.strictEqual(taken.size, sums.jobs + seen.lost)
        assert.strictEqual(seen.requests, count + seen.throttled - sums.refused)
      })
    )
  }
})
