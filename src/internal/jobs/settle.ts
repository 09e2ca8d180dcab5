import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Job from "../../schemas/Job.js"
import { cancelUnlessEnded } from "./cancel.js"
import * as Poll from "./poll.js"

/** Follows a job to its end, in a loop: a Stream for each waiting job would take 40 KiB. */
export const follow = (poller: Poll.Poller): Effect.Effect<Job.TerminalJob, Poll.WaitError> => {
  const { ended } = poller.wait
  const loop = Effect.gen(function* () {
    for (;;) {
      const job = yield* poller.nextChange()
      if (Job.isTerminal(job)) return job
    }
  })
  return ended === undefined ? loop : Effect.acquireUseRelease(poller.listen(ended), () => loop, Fiber.interrupt)
}

/** Waits until the job has ended. */
export const settle = (wait: Poll.Wait): Effect.Effect<Job.TerminalJob, Poll.WaitError> => {
  const settled = Effect.flatMap(Poll.make(wait), (poller) =>
    Effect.onExit(follow(poller), (exit) => cancelUnlessEnded(poller, exit))
  )
  return wait.rules.onInterrupt ? wait.job.runtime.supervise(settled) : settled
}
