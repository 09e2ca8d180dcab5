import * as Duration from "effect/Duration"
import type { Alarm } from "../../../internal/pace/timer.js"
import type { EndpointOptions, Spread } from "../../contract.js"

export interface Worker {
  readonly id: string
  active: number
  isReady: boolean
  /** When its cold start began. */
  startedAt: number
  /** When its cold start was over. */
  readyAt: number
  idleSince: number
  startAlarm: Alarm | undefined
}

export const wholeMillis = (duration: Duration.DurationInput): number => Math.round(Duration.toMillis(duration))

export const readSpread = (spread: Spread) => {
  const { max, min } = typeof spread === "object" && "min" in spread ? spread : { max: spread, min: spread }
  return { min: wholeMillis(min), max: wholeMillis(max) }
}

/** What the options say of workers, with the defaults. Times are milliseconds. */
export const readFleetSettings = (
  options: Pick<EndpointOptions, "coldStart" | "idleTimeout" | "concurrency">,
  concurrency: number
) => ({
  coldStart: readSpread(options.coldStart ?? 0),
  // At the moment when a worker is ready it is not idle yet.
  idleTimeout: Math.max(1, wholeMillis(options.idleTimeout ?? "5 seconds")),
  concurrency: options.concurrency ?? concurrency
})

/** The workers of an endpoint or of a load balancer. */
export interface Fleet {
  readonly workers: Set<Worker>
  readonly settings: ReturnType<typeof readFleetSettings>
  maxWorkers: number
  minWorkers: number
  /** Workers that take no work. */
  throttled: number
  unhealthy: number
}
