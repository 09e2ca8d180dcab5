import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Job from "../../schemas/Job.js"
import type { WatchedJob } from "../../services/WaitOptions.js"
import { cancelUnlessEnded } from "./cancel.js"
import * as Poll from "./poll.js"

/** The job whenever its status, its progress or its diagnosis has changed, last when it has ended. */
export const watch = (wait: Poll.Wait): Stream.Stream<WatchedJob, Poll.WaitError> =>
  Stream.unwrap(
    Effect.map(Poll.make({ ...wait, wantsProgress: true }), (poller) => {
      const { ended } = wait
      const changes = Stream.paginateEffect(undefined, () =>
        Effect.map(poller.nextChange(), (job) => [job, Job.isTerminal(job) ? Option.none() : Option.some(undefined)])
      )
      const listening =
        ended === undefined
          ? changes
          : Stream.unwrapScoped(Effect.as(Effect.acquireRelease(poller.listen(ended), Fiber.interrupt), changes))
      return Stream.ensuringWith(listening, (exit) => cancelUnlessEnded(poller, exit))
    })
  )
