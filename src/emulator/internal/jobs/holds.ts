import * as Effect from "effect/Effect"
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

/** Waits until it is woken, `millis` at most. */
const hold = ({ timer }: Model, waiters: Waiters, millis: number): Effect.Effect<void> =>
  Effect.async((resume) => {
    const leave = () => {
      timer.clear(alarm)
      waiters.delete(wakeUp)
    }
    const wakeUp = () => {
      leave()
      resume(Effect.void)
    }
    const alarm = timer.set(timer.now() + millis, wakeUp)
    waiters.add(wakeUp)
    return Effect.sync(leave)
  })

/** Waits until the job has ended or is forgotten, `millis` at most. */
export const awaitEnd = (model: Model, job: Job, millis: number): Effect.Effect<void> =>
  job.hasEnded ? Effect.void : hold(model, job.endWaiters, millis)

/** Waits until there is a chunk to read, the job has ended or is forgotten, `millis` at most. */
export const awaitChunk = (model: Model, job: Job, millis: number): Effect.Effect<void> =>
  untilChunk(model, job, model.timer.now() + millis)

/** Another reader may have taken the chunk that woke this one: then it goes on waiting. */
const untilChunk = (model: Model, job: Job, deadline: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    const left = deadline - model.timer.now()
    const isOver = job.hasEnded || job.chunks.length > 0 || !job.isKept || left <= 0
    return isOver ? Effect.void : Effect.zipRight(hold(model, job.chunkWaiters, left), untilChunk(model, job, deadline))
  })
