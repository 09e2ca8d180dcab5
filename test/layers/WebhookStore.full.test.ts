/** A disk that is full, as the system says it: the size of files is limited for the process. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import * as WebhookStore from "../../src/layers/WebhookStore.js"
import * as BatchJournal from "../../src/services/BatchJournal.js"
import { program } from "../support/program.js"
import { delivery, settled } from "../support/records.js"

interface Said {
  readonly ends: ReadonlyArray<{ readonly stored: string; readonly noted: string }>
  readonly visible: ReadonlyArray<string>
  readonly latest: number
}

/** In blocks of 512 or 1,024 bytes, by the shell. */
const fill = (folder: string) =>
  Effect.async<Said, Error>((resume) => {
    const command = `ulimit -f 8; exec "${process.execPath}" "${program("fullDisk")}" "${folder}"`
    execFile("sh", ["-c", command], (error, stdout, stderr) => {
      resume(error === null ? Effect.succeed(JSON.parse(stdout) as Said) : Effect.fail(new Error(stderr)))
    })
  })

describe("a full disk", () => {
  it.scopedLive("acknowledges nothing that is not there, shows nothing else, and leaves files that go on", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const { ends, latest, visible } = yield* fill(folder)
      const acknowledged = ends.flatMap(({ stored }, i) => (stored === "Stored" ? [i + 1] : []))
      const noted = ends.flatMap(({ noted }, i) => (noted === "Noted" ? [i + 1] : []))
      assert.isAbove(acknowledged.length, 1)
      assert.isAbove(noted.length, 1)
      assert.deepStrictEqual([...new Set(ends.map(({ stored }) => stored))], ["Stored", "WebhookStoreError"])
      assert.deepStrictEqual([...new Set(ends.map(({ noted }) => noted))], ["Noted", "Io"])
      assert.deepStrictEqual(
        visible,
        acknowledged.map((n) => `job ${n}`)
      )
      assert.isAtLeast(latest, acknowledged.length)

      // With room again.
      const store = yield* WebhookStore.file(`${folder}/webhooks.jsonl`)
      assert.deepStrictEqual(
        (yield* store.after(0, 100)).map(({ sequence: _, ...stored }) => stored),
        acknowledged.map(delivery)
      )
      for (let n = 1; n <= ends.length; n++) {
        const again = yield* store.add(delivery(n))
        assert.strictEqual(again._tag, acknowledged.includes(n) ? "Duplicate" : "Stored")
      }
      const journal = yield* BatchJournal.file(`${folder}/journal.jsonl`)
      for (let n = 1; n <= ends.length; n++) {
        const outcome = yield* journal.outcome(`key ${n}`)
        assert.deepStrictEqual(
          outcome._tag === "Some" ? outcome.value : undefined,
          noted.includes(n) ? settled(n) : undefined
        )
      }
    }).pipe(Effect.provide(NodeFileSystem.layer))
  )
})
