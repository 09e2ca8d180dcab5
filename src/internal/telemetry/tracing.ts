/** How spans are made and ended here: what they may hold, and that they cost nothing where nobody would see them. */
import * as Clock from "effect/Clock"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import { failureOf, isInterruption } from "../effect/cause.js"
import { type RuntimeFiber, withFiber } from "../effect/fiber.js"
import * as FiberRefs from "../effect/fiberRef.js"
import { nanosOf } from "../pace/monotonic.js"

const nativeTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** What the spans of a fiber are made with. */
export class Tracing {
  readonly clock: Clock.Clock
  readonly isTimed: boolean
  /** Whether spans are seen: Effect's own tracer, which a program has without another, shows them to nobody. */
  readonly isTraced: boolean

  constructor(fiber: RuntimeFiber<unknown, unknown>) {
    const services = FiberRefs.valueIn(fiber, DefaultServices.currentServices)
    this.clock = Context.get(services, Clock.Clock)
    const isEnabled = FiberRefs.valueIn(fiber, FiberRef.currentTracerEnabled)
    this.isTraced = isEnabled && Context.get(services, Tracer.Tracer) !== nativeTracer
    this.isTimed = FiberRefs.valueIn(fiber, FiberRef.currentTracerTimingEnabled)
  }

  now(): bigint {
    return this.isTimed ? nanosOf(this.clock) : 0n
  }

  /** Ends a span, unless that was done. */
  end(span: Tracer.Span, exit: Exit.Exit<unknown, unknown>): void {
    if (span.status._tag !== "Ended") span.end(this.now(), seenExit(exit))
  }
}

/** Runs what a server or a loop does in the background, which is no part of the span that its layer was built in. */
export const atRoot = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.mapInputContext(effect, Context.omit(Tracer.ParentSpan))

/** In place of a span where there is no tracer that would show it. */
export const unseen: Tracer.Span = {
  _tag: "Span",
  name: "",
  spanId: "",
  traceId: "",
  parent: Option.none(),
  context: Context.empty(),
  status: { _tag: "Started", startTime: 0n },
  attributes: new Map(),
  links: [],
  sampled: false,
  kind: "client",
  end: constVoid,
  attribute: constVoid,
  event: constVoid,
  addLinks: constVoid
}

const tagOf = (error: unknown): string => {
  const tag = typeof error === "object" && error !== null && "_tag" in error ? error._tag : undefined
  return typeof tag === "string" ? tag : "Defect"
}

/** The class of an error, for `error.type`: the status of an answer, else the error's tag. */
export const errorTypeOf = (error: unknown): string => {
  const status = typeof error === "object" && error !== null && "status" in error ? error.status : undefined
  return typeof status === "number" && status >= 400 ? String(status) : tagOf(error)
}

/** What a span tells of a failure: its class. What a server or a worker said may repeat an input. */
class SpanError extends Error {
  readonly _tag: string
  override readonly stack: string

  constructor(error: unknown) {
    super(`${errorTypeOf(error)}: the error of the effect says more`)
    this._tag = this.name = tagOf(error)
    this.stack = `${this.name}: ${this.message}`
  }
}

/** How an effect ended, without the value or what stands in the error. */
const seenExit = (exit: Exit.Exit<unknown, unknown>): Exit.Exit<void, SpanError> => {
  if (Exit.isSuccess(exit)) return Exit.void
  const { cause } = exit
  if (isInterruption(cause)) return Exit.failCause(cause as Cause.Cause<never>)
  const failure = failureOf(cause)
  const error = new SpanError(failure)
  return failure === undefined ? Exit.die(error) : Exit.fail(error)
}

const form = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/** Where a span stands, as the W3C's `traceparent`; `undefined` when its tracer names spans in another way. */
export const traceparentOf = ({ sampled, spanId, traceId }: Tracer.AnySpan): string | undefined => {
  const text = `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`
  return form.test(text) ? text : undefined
}

/** The `traceparent` of what a fiber works under, where that is traced. */
export const currentTrace: Effect.Effect<string | undefined> = withFiber((fiber) => {
  const parent = Context.getOption(fiber.currentContext, Tracer.ParentSpan)
  const { isTraced } = new Tracing(fiber)
  return Effect.succeed(isTraced && Option.isSome(parent) ? traceparentOf(parent.value) : undefined)
})

/** The links to the span of a `traceparent`. */
export const linksTo = (traceparent: string | undefined): ReadonlyArray<Tracer.SpanLink> => {
  const [, traceId, spanId, flags] = form.exec(traceparent ?? "") ?? []
  if (traceId === undefined || spanId === undefined) return []
  const span = Tracer.externalSpan({ traceId, spanId, sampled: flags === "01" })
  return [{ _tag: "SpanLink", span, attributes: {} }]
}
