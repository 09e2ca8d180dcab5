import { spawn } from "node:child_process"
import * as NodeEmulator from "/work/main/src/emulator/NodeEmulator.js"
import * as Emulator from "/work/main/src/emulator/Emulator.js"
import { Effect } from "effect"
import * as fs from "node:fs"
const f = "/tmp/term-journal.jsonl"
fs.rmSync(f, {force:true}); fs.rmSync(f+".lock",{force:true})
Effect.runPromise(Effect.scoped(Effect.gen(function*(){
  const server = yield* NodeEmulator.serve({ endpoints: { ep: { workers: 12, execution: { min: "50 millis", max: "300 millis" } } },
            faults: [Emulator.Fault.delay({ operations: ["run"], by: "40 millis" })] })
  yield* Effect.async((resume) => {
    const c = spawn(process.execPath, ["--import","tsx","test/support/batchChild.ts", server.url, f, "60"], {cwd:"/work/main", stdio:["ignore","pipe","inherit"]})
    c.stdout.on("data", d => { console.log("out", String(d).slice(0,60)); setTimeout(()=>{console.log("kill"); c.kill("SIGTERM")}, Number(process.argv[2]))})
    c.on("close", (code, sig) => { console.log("closed", code, sig); resume(Effect.void)})
  })
  const lines = fs.readFileSync(f,"utf8").trim().split("\n").slice(2).map(l=>JSON.parse(l))
  const last = new Map(); for (const l of lines) last.set(l.key, l._tag)
  const c: any = {}; for (const t of last.values()) c[t]=(c[t]??0)+1
  console.log(c, (yield* server.counts).submitted)
})))
