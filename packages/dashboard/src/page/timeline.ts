/** One job on a time axis: the parts of its life, and what happened about it, also as a table. */
import { h } from "preact"
import type { JobEvent, Job } from "../Source.js"
import { duration } from "./format.js"

interface Part {
  readonly name: "submitting" | "queued" | "cold" | "running" | "seen"
  readonly from: number
  readonly to: number
}

const names = {
  submitting: "submitting",
  queued: "queued",
  cold: "cold start",
  running: "running",
  seen: "until it was seen"
}
const lanes = [
  { kind: "request", label: "Requests", what: "request" },
  { kind: "retry", label: "Sent again", what: "request sent again" },
  { kind: "throttled", label: "Answers 429", what: "answer 429" },
  { kind: "limiter", label: "Waits for limits", what: "wait for the limits" },
  { kind: "webhook", label: "Webhooks", what: "webhook" }
] as const

const whatOf = (kind: JobEvent["kind"]) => lanes.find((lane) => lane.kind === kind)?.what ?? kind
const endOf = ({ at, took = 0 }: JobEvent) => at + took

/** The parts of a job's life whose times are known. */
const partsOf = (job: Job, events: ReadonlyArray<JobEvent>, now: number): ReadonlyArray<Part> => {
  const { coldStart = 0, createdAt, delayTime = 0, finishedAt, startedAt } = job
  if (createdAt === undefined) return []
  const { acceptedAt = job.jobId === undefined ? (finishedAt ?? now) : createdAt } = job
  const began = startedAt ?? finishedAt ?? Math.max(acceptedAt, now)
  const ended = finishedAt ?? Math.max(began, now)
  const cold = began - Math.min(coldStart, delayTime)
  const seenAt =
    finishedAt === undefined
      ? undefined
      : events
          .filter(({ kind }) => kind !== "limiter" && kind !== "throttled")
          .map(endOf)
          .find((at) => at >= ended)
  const parts: ReadonlyArray<Part> = [
    { name: "submitting", from: createdAt, to: acceptedAt },
    { name: "queued", from: acceptedAt, to: cold },
    { name: "cold", from: cold, to: began },
    { name: "running", from: began, to: startedAt === undefined ? began : ended },
    { name: "seen", from: ended, to: seenAt ?? ended }
  ]
  return parts.filter(({ from, to }) => to > from)
}

const answerOf = ({ error, kind, status, took }: JobEvent): string => {
  const said = [
    status === undefined ? "" : String(status),
    error === undefined || error === String(status) ? "" : error
  ]
  const text = said.filter((part) => part !== "").join(", ")
  if (kind === "retry" && status === undefined) return `after ${text}`
  if (text !== "" || kind === "limiter" || kind === "webhook") return text
  return took === undefined ? "not yet" : "none"
}

/** Round lengths along the axis, in milliseconds. */
const ticksOf = (length: number): ReadonlyArray<number> => {
  const power = 10 ** Math.floor(Math.log10(length / 5))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => length / one <= 5) ?? length
  return Array.from({ length: Math.floor(length / step) + 1 }, (_, i) => i * step)
}

export const Timeline = ({
  events,
  job,
  now
}: {
  job: Job
  events: ReadonlyArray<JobEvent>
  now: number | undefined
}) => {
  const parts = partsOf(job, events, now ?? 0)
  const starts = [...parts.map(({ from }) => from), ...events.map(({ at }) => at)]
  if (starts.length === 0)
    return h("p", { class: "soft" }, `Queued ${duration(job.delayTime)}, running ${duration(job.executionTime)}.`)
  const begin = Math.min(...starts)
  const end = Math.max(begin + 1, ...parts.map(({ to }) => to), ...events.map(endOf))
  const percent = (length: number) => `${(length / (end - begin)) * 100}%`
  const place = (from: number, to: number) => ({ left: percent(from - begin), width: percent(to - from) })
  // What is shorter than its mark stays on the axis, at its end, too.
  const placeMark = (event: JobEvent) => {
    const { left, width } = place(event.at, endOf(event))
    return { left: `min(${left}, calc(100% - 6px))`, width }
  }
  const used = lanes
    .map((lane) => ({ ...lane, events: events.filter(({ kind }) => kind === lane.kind) }))
    .filter((lane) => lane.events.length > 0)
  const summary = [
    ...parts.map(({ from, name, to }) => `${names[name]} ${duration(to - from)}`),
    ...used.map((lane) => `${lane.label}: ${lane.events.length}`)
  ].join(", ")
  return h(
    "div",
    null,
    h(
      "div",
      { class: "lanes", role: "img", "aria-label": `${summary}. The table below has their times.` },
      parts.length === 0
        ? null
        : [
            h("span", { class: "lane", key: "job" }, "Job"),
            h(
              "div",
              { class: "track life", key: "life" },
              parts.map(({ from, name, to }) => h("span", { key: name, class: name, style: place(from, to) }))
            )
          ],
      used.map((lane) => [
        h("span", { class: "lane", key: lane.kind }, `${lane.label} (${lane.events.length})`),
        h(
          "div",
          { class: "track", key: `${lane.kind} track` },
          lane.events.map((event, i) =>
            h("span", {
              key: i,
              class: `mark ${lane.kind}`,
              title: `${event.operation ?? lane.what} after ${duration(event.at - begin)}, ${duration(event.took)}`,
              style: placeMark(event)
            })
          )
        )
      ]),
      h("span", { class: "lane" }, "After"),
      h(
        "div",
        { class: "ticks" },
        ticksOf(end - begin).map((tick) =>
          h("span", { key: tick, style: { left: percent(tick) } }, tick === 0 ? "0" : duration(tick))
        )
      )
    ),
    h(
      "div",
      { class: "row" },
      parts.map(({ from, name, to }) =>
        h("span", { key: name }, h("span", { class: `key ${name}` }), `${names[name]} ${duration(to - from)}`)
      )
    ),
    h(Events, { begin, events })
  )
}

const Events = ({ begin, events }: { begin: number; events: ReadonlyArray<JobEvent> }) =>
  events.length === 0
    ? null
    : h(
        "table",
        { class: "events" },
        h("caption", null, "What happened about this job"),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            ["After", "What", "Request", "Answer", "Took"].map((name) => h("th", { key: name, scope: "col" }, name))
          )
        ),
        h(
          "tbody",
          null,
          events.map((event, i) =>
            h(
              "tr",
              { key: i },
              h("td", null, duration(event.at - begin)),
              h("td", null, whatOf(event.kind)),
              h("td", null, event.operation ?? ""),
              h("td", null, answerOf(event)),
              h("td", null, event.took === undefined ? "" : duration(event.took))
            )
          )
        )
      )
