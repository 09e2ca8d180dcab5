import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type * as Emulator from "../../src/emulator/Emulator.js"
import * as NodeEmulator from "../../src/node/NodeEmulator.js"

/** An emulator behind a server, for tests that know promises only. Its endpoint is `ep`. */
export const serve = async (endpoint: Emulator.EndpointOptions, faults: ReadonlyArray<Emulator.Fault.Fault> = []) => {
  const scope = Effect.runSync(Scope.make())
  const options = { endpoints: { ep: endpoint }, faults }
  const server = await Effect.runPromise(Scope.extend(NodeEmulator.serve(options), scope))
  const jobs = () => Effect.runPromise(server.jobs("ep"))
  return {
    url: server.url,
    jobs,
    /** How often each job was cancelled. */
    cancels: async () => (await jobs()).map(({ cancels }) => cancels),
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}
