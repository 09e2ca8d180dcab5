import * as Effect from "effect/Effect"
import type { Alarm } from "../../../internal/pace/timer.js"
import type { Job, Model } from "./model.js"

type Waiters = Set<() => void>

/** Wakes the held requests that wait for the job's end or a chunk; each looks for itself whether it goes on waiting. */
export const wakeAll = (job: Job): void => {
  wake(job.endWaiters)
  wake(job.chunkWaiters)
}

export const wake = (waiters: Waiters): void => {
  for (const resume of [...waiters]) resume()
}

/** Waits until it is woken, `millis` at most, unless `isOver` already. */
const hold = ({ timer }: Model, waiters: Waiters, millis: number, isOver: () => boolean): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (isOver()) return resume(Effect.void)
    let alarm: Alarm | undefined = undefined
    const leave = () => {
      if (alarm !== undefined) timer.clear(alarm)
      waiters.delete(wakeUp)
    }
    const wakeUp = () => {
      leave()
      resume(Effect.void)
    }
    waiters.add(wakeUp)
    // An alarm that is due already wakes it before there is an alarm to clear.
    alarm = timer.set(timer.now() + millis, wakeUp)
    return Effect.sync(leave)
  })

/** Waits until the job has ended or is forgotten, `millis` at most. */
export const awaitEnd = (model: Model, job: Job, millis: number): Effect.Effect<void> =>
  hold(model, job.endWaiters, millis, () => job.hasEnded || !job.isKept)

/** Waits until there is a chunk to read, the job has ended or is forgotten, `millis` at most. */
export const awaitChunk = (model: Model, job: Job, millis: number): Effect.Effect<void> => {
  const deadline = model.timer.now() + millis
  const isOver = () => job.hasEnded || job.chunks.length > 0 || !job.isKept || model.timer.now() >= deadline
  const untilWoken = Effect.suspend(() => hold(model, job.chunkWaiters, deadline - model.timer.now(), isOver))
  // Another reader may have taken the chunk that woke this one: then it goes on waiting.
  return Effect.repeat(untilWoken, { until: isOver })
}
