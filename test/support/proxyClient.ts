/** Reads a job over the proxies of its environment, and prints its status or the whole error. A process of its own, with its own environment. */
import { Effect } from "effect"
import { inspect } from "node:util"
import * as RetryPolicy from "../../src/layers/RetryPolicy.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import { RunPod } from "../../src/services/RunPod.js"

const [, , baseUrl = "", http2] = process.argv

const program = Effect.flatMap(RunPod, (runpod) => runpod.status("ep", "a")).pipe(
  Effect.map((job) => job.status),
  Effect.catchAll((error) => Effect.succeed(inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error))),
  Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl, http2: http2 === "http2", retry: RetryPolicy.none }))
)

process.stdout.write(await Effect.runPromise(program))
