/**
 * Shows the progress of a batch: as a bar on a terminal, as a line now and then elsewhere.
 *
 * @since 0.1.0
 */
import type { Options as BarOptions, SingleBar } from "cli-progress"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { constVoid, dual } from "effect/Function"
import * as HashSet from "effect/HashSet"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { stderr } from "node:process"
import * as FiberRefs from "../internal/effect/fiberRef.js"
import { type Progress, progress, type Tracker } from "../services/Batch.js"

/**
 * Options of the display.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** What the line begins with. Default: `batch`. */
  readonly label?: string | undefined
  /** Default: stderr, so that what the program prints stays its own. */
  readonly output?: NodeJS.WriteStream | undefined
  /** How often the bar is drawn anew. Default: 500 milliseconds. */
  readonly interval?: Duration.DurationInput | undefined
  /** How often a line is printed where there is no terminal; the last one always is. Default: 10 seconds. */
  readonly lineInterval?: Duration.DurationInput | undefined
}

const inWords = ({ done, elapsed, ended, eta, failed, queued, rate, running, total }: Progress): string =>
  [
    total === undefined ? `${done} done` : `${done} of ${total} done`,
    ...(failed === 0 ? [] : [`${failed} failed`]),
    ...(ended || running === undefined ? [] : [`${running} running`]),
    ...(ended || queued === undefined ? [] : [`${queued} queued`]),
    ...(ended || rate === 0 ? [] : [`${rate.toFixed(1)}/s`]),
    ended || eta === undefined ? `after ${duration(elapsed)}` : `${duration(eta)} left`
  ].join(", ")

/** To the second, as h:mm:ss or m:ss. */
const duration = (time: Duration.Duration): string => {
  const seconds = Math.round(Duration.toSeconds(time))
  const pad = (part: number) => String(part).padStart(2, "0")
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60]
  return `${hours === 0 ? minutes : `${hours}:${pad(minutes)}`}:${pad(seconds % 60)}`
}

type Draw = (progress: Progress) => Effect.Effect<void>

/** The package, if it is installed. Bundlers take an import inside of `try` for one that may be missing. */
const loadBars = async () => {
  try {
    return await import("cli-progress")
  } catch {
    return undefined
  }
}

/** A bar, until the scope closes; what it showed last stays. Once it was left, the next one is drawn below. */
interface Bar {
  readonly draw: Draw
  readonly leave: () => void
}

/** Without the package `cli-progress` there is none. */
const makeBar = (label: string, output: NodeJS.WriteStream): Effect.Effect<Bar | undefined, never, Scope.Scope> =>
  Effect.gen(function* () {
    const module = yield* Effect.promise(loadBars)
    if (module === undefined) return undefined
    const { Presets, SingleBar: Bar } = module.default
    const options: BarOptions = {
      format: `${label} {bar} {percentage} % | {words}`,
      stream: output,
      hideCursor: true,
      barsize: 24,
      // The program's signals are its own.
      gracefulExit: false
    }
    let bar: SingleBar | undefined
    const leave = () => {
      bar?.stop()
      bar = undefined
    }
    yield* Effect.addFinalizer(() => Effect.sync(leave))
    const draw: Draw = (progress) =>
      Effect.sync(() => {
        const { done, total } = progress
        const words = { words: inWords(progress) }
        // Of a stream nobody knows how long it is: the bar is full of what is done.
        const length = total ?? Math.max(1, done)
        if (bar === undefined) {
          bar = new Bar(options, Presets.shades_classic)
          bar.start(length, done, words)
        }
        bar.setTotal(length)
        bar.update(done, words)
      })
    return { draw, leave }
  })

/** Calls `leave` before anything is logged, which would be written into the line of the bar. */
const leavingForLogs = <A, E, R>(effect: Effect.Effect<A, E, R>, leave: () => void): Effect.Effect<A, E, R> =>
  FiberRefs.update(
    effect,
    FiberRef.currentLoggers,
    HashSet.map((logger) =>
      Logger.make((entry): unknown => {
        leave()
        return logger.log(entry)
      })
    )
  )

const makeLines = (label: string, output: NodeJS.WriteStream, interval: Duration.DurationInput): Draw => {
  let printedAt = -Infinity
  return (progress) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      if (!progress.ended && now - printedAt < Duration.toMillis(interval)) return
      printedAt = now
      output.write(`${label} ${inWords(progress)}\n`)
    })
}

/**
 * Runs an effect, and shows meanwhile how far the batch in it is. On a terminal this takes the package `cli-progress`, an
 * optional peer; without it lines are printed there, too. What the effect logs has lines of its own.
 *
 * @example
 * ```ts
 * import { Batch, type Endpoint } from "effect-runpod"
 * import { NodeProgress } from "effect-runpod/Node"
 * import { Effect } from "effect"
 *
 * const withBar = (endpoint: Endpoint.Endpoint<string, string>, inputs: ReadonlyArray<string>) =>
 *   Effect.flatMap(Batch.tracker, (tracker) =>
 *     Batch.collect(endpoint, inputs, { tracker }).pipe(NodeProgress.show(tracker, { label: "captions" }))
 *   )
 * ```
 *
 * @since 0.1.0
 * @category rendering
 */
export const show: {
  (tracker: Tracker, options?: Options): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, tracker: Tracker, options?: Options): Effect.Effect<A, E, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(effect: Effect.Effect<A, E, R>, tracker: Tracker, options: Options = {}): Effect.Effect<A, E, R> => {
    const { interval = "500 millis", label = "batch", lineInterval = "10 seconds", output = stderr } = options
    let leave: () => void = constVoid
    const draw = Effect.gen(function* () {
      const bar = output.isTTY ? yield* makeBar(label, output) : undefined
      if (bar !== undefined) leave = bar.leave
      const draw = bar?.draw ?? makeLines(label, output, lineInterval)
      yield* Stream.runForEach(progress(tracker, { interval }), draw)
    })
    return Effect.acquireUseRelease(
      Effect.fork(Effect.interruptible(Effect.scoped(draw))),
      () => (output.isTTY ? leavingForLogs(effect, () => leave()) : effect),
      (fiber) =>
        Effect.zipRight(
          // The last state of the batch may still be drawn.
          Effect.timeoutOption(Effect.interruptible(Fiber.await(fiber)), "1 second"),
          Fiber.interrupt(fiber)
        )
    )
  }
)
