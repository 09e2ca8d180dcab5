/** A tracer and a logger that keep what they are given. */
import type * as Context from "effect/Context"
import type * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import type * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

/** A span as it was recorded, with everything that was put on it. */
export class RecordedSpan implements Tracer.Span {
  readonly _tag = "Span"
  readonly spanId: string
  readonly traceId = "00000000000000000000000000000001"
  readonly sampled = true
  status: Tracer.SpanStatus
  readonly attributes = new Map<string, unknown>()
  readonly events: Array<{ readonly name: string; readonly attributes: Record<string, unknown> }> = []
  links: Array<Tracer.SpanLink>
  exit: Exit.Exit<unknown, unknown> | undefined

  constructor(
    readonly name: string,
    readonly parent: Option.Option<Tracer.AnySpan>,
    readonly context: Context.Context<never>,
    links: ReadonlyArray<Tracer.SpanLink>,
    startTime: bigint,
    readonly kind: Tracer.SpanKind,
    number: number
  ) {
    this.spanId = String(number).padStart(16, "0")
    this.links = [...links]
    this.status = { _tag: "Started", startTime }
  }

  end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    const { startTime } = this.status
    this.status = { _tag: "Ended", startTime, endTime, exit }
    this.exit = exit
  }

  attribute(key: string, value: unknown): void {
    this.attributes.set(key, value)
  }

  event(name: string, _startTime: bigint, attributes: Record<string, unknown> = {}): void {
    this.events.push({ name, attributes })
  }

  addLinks(links: ReadonlyArray<Tracer.SpanLink>): void {
    this.links.push(...links)
  }
}

/** A tracer, and the spans it has made. */
export const makeTracer = () => {
  const spans: Array<RecordedSpan> = []
  const tracer = Tracer.make({
    span: (name, parent, context, links, startTime, kind) => {
      const span = new RecordedSpan(name, parent, context, links, startTime, kind, spans.length + 1)
      spans.push(span)
      return span
    },
    context: (run) => run()
  })
  return { tracer, spans }
}

/** A logger, and the entries it was given. */
export const makeLogger = () => {
  const entries: Array<Omit<Logger.Logger.Options<unknown>, "context" | "fiberId">> = []
  const logger = Logger.make<unknown, void>(({ context: _context, fiberId: _fiberId, ...entry }) => {
    entries.push(entry)
  })
  return { layer: Logger.replace(Logger.defaultLogger, logger), entries }
}
