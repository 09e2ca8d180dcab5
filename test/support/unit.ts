/** For files of the project `unit`, which share threads and whose tests run side by side: what they may not do, fails. */
import { ChildProcess } from "node:child_process"
import { Server, Socket } from "node:net"
import { setPriority } from "node:os"

// Beside tests that see how late they are, and ahead of which these, with clocks of their own, need not be.
setPriority(5)

const refuse = (what: string) => () => {
  throw new Error(`A unit test ${what}: list its file under \`live\` in vitest.config.ts`)
}

Object.assign(Server.prototype, { listen: refuse("listens on a socket") })
Object.assign(Socket.prototype, { connect: refuse("connects to a socket") })
Object.assign(ChildProcess.prototype, { spawn: refuse("starts a process") })
