/** A process that takes a log at the moment it is told, and says whether it got it. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Effect from "effect/Effect"
import * as AppendLog from "../../src/internal/files/appendLog.js"

const file = process.argv[2] ?? ""
process.stdout.write("ready\n")
process.stdin.once("data", () => {
  const hold = Effect.gen(function* () {
    const log = yield* Effect.either(AppendLog.open(file, { format: "test", sync: "never" }))
    process.stdout.write(log._tag === "Right" ? "won\n" : `${log.left.reason}\n`)
    yield* Effect.never
  })
  Effect.runFork(Effect.scoped(Effect.provide(hold, NodeFileSystem.layer)))
})
