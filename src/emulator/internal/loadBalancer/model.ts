import * as Effect from "effect/Effect"
import type * as Deferred from "effect/Deferred"
import type { Alarm } from "../../../internal/pace/timer.js"
import type { App, LoadBalancerOptions, LoadBalancerSnapshot, WorkerContext } from "../../contract.js"
import type { HttpResponse } from "../http/messages.js"
import { type Fleet, readFleetSettings, type Worker } from "../jobs/fleet.js"

/** Which worker a request asks for: any; this one first; or none but this one, resumed where it was scaled down. */
export type Affinity =
  | { readonly mode: "any" }
  | { readonly mode: "prefer"; readonly workerId: string }
  | { readonly mode: "strict" | "strict-resume"; readonly workerId: string }

/** Why an answer breaks off: after 5.5 minutes, or since its worker was killed. */
export type Cut = "timeout" | "killed"

/** One request from its arrival until its answer has gone out. */
export interface Exchange {
  readonly affinity: Affinity
  /** Told where it goes: once it has a worker, or is refused. */
  readonly resume: (end: Worker | HttpResponse) => void
  /** While it waits: when it has waited for too long. While it is answered: when that takes too long. */
  alarm: Alarm | undefined
  worker: Worker | undefined
  /** Fails to break its answer off. */
  readonly cut: Deferred.Deferred<never, Cut>
}

/** The state of a load-balancing endpoint. */
export class LoadBalancer implements Fleet {
  readonly workers = new Set<Worker>()
  readonly settings: ReturnType<typeof readFleetSettings>
  maxWorkers = 0
  minWorkers = 0
  throttled = 0
  unhealthy = 0
  /** Requests without a worker, first come, first served. */
  readonly waiting = new Set<Exchange>()
  /** Requests that are being answered. */
  readonly running = new Set<Exchange>()
  /** The ids of workers that have answered and were not killed: those that are not there were scaled down. */
  readonly resumable = new Set<string>()
  /** While requests wait or workers are initializing: looks at the workers again. */
  pingAlarm: Alarm | undefined
  /** The workers that were no longer initializing when their health was last looked at. */
  readonly initialized = new WeakSet<Worker>()
  private readonly apps = new WeakMap<Worker, App>()

  constructor(
    readonly id: string,
    private readonly options: LoadBalancerOptions
  ) {
    this.settings = readFleetSettings(options, 30)
  }

  get hasPing(): boolean {
    return this.options.ping !== undefined
  }

  /** The server on a worker, made when it is first asked for. */
  appOf(worker: Worker): App {
    const known = this.apps.get(worker)
    if (known !== undefined) return known
    const { app } = this.options
    const made = Effect.isEffect(app) ? app : app(worker.id)
    this.apps.set(worker, made)
    return made
  }

  statusOf(worker: Worker, now: number): LoadBalancerSnapshot["workers"][number]["status"] {
    if (!worker.isReady) return "initializing"
    const ping = this.ping({ id: worker.id, age: now - worker.readyAt })
    if (ping === 200) return "healthy"
    return ping === 204 ? "initializing" : "unhealthy"
  }

  private ping(worker: WorkerContext): number {
    try {
      return this.options.ping?.(worker) ?? 200
    } catch {
      return 500
    }
  }
}
