/** Asks for a job's status over HTTP/2 a few times, and prints how each ended. A process of its own, since it trusts a certificate of its own. */
import { Effect } from "effect"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import { RunPod } from "../../src/services/RunPod.js"

const [, , baseUrl = ""] = process.argv

const program = Effect.flatMap(RunPod, (runpod) =>
  Effect.all([runpod.status("ep", "a"), runpod.statusSync("ep", "a"), runpod.run("ep", { input: { n: 1 } })], {
    concurrency: "unbounded"
  })
).pipe(Effect.provide(NodeRunPod.layer({ apiKey: "key", baseUrl, http2: true })))

process.stdout.write(JSON.stringify((await Effect.runPromise(program)).map((job) => job.status)))
