/** The list of jobs, of which only what is seen is asked for and drawn, and one job on a time axis. */
import { signal } from "@preact/signals"
import { h } from "preact"
import { useEffect, useState } from "preact/hooks"
import type { Job, JobEvent } from "../Source.js"
import { count, duration, time } from "./format.js"
import { Section } from "./parts.js"
import { Timeline } from "./timeline.js"
import { act, get, go, hrefOf, life, newest, params, post, Problem, revision, source, summary } from "./state.js"
import { hasToken, Refused } from "./token.js"

const rowHeight = 32
const page = 100
/** Browsers draw elements up to some 16 million pixels high. */
const tallest = 12_000_000

const open = ["IN_QUEUE", "IN_PROGRESS", "SUBMITTED"]

const scrolled = signal({ top: 0, height: 600 })

const useWindow = () => {
  const [loaded, setLoaded] = useState<{ total: number; offset: number; jobs: ReadonlyArray<Job> }>({
    total: 0,
    offset: 0,
    jobs: []
  })
  const name = source.value?.name ?? ""
  const status = params.value.get("status") ?? ""
  const search = params.value.get("search") ?? ""
  const { height, top } = scrolled.value
  const full = loaded.total * rowHeight
  const scale = full > tallest ? (full - height) / (tallest - height) : 1
  const first = Math.floor((top * scale) / rowHeight)
  const offset = Math.max(0, Math.floor((first - page / 4) / 25) * 25)
  const of = revision.value
  useEffect(() => {
    let isCurrent = true
    get<{ total: number; jobs: ReadonlyArray<Job> }>("/api/jobs", {
      source: name,
      status,
      search,
      offset: String(offset),
      limit: String(page)
    }).then(
      ({ jobs, total }) => isCurrent && setLoaded({ jobs, total, offset }),
      () => undefined
    )
    return () => void (isCurrent = false)
  }, [name, status, search, offset, of])
  return { ...loaded, first, scale, top, height }
}

const Row = ({ job, y, index }: { job: Job; y: number; index: number }) =>
  h(
    "div",
    { role: "row", "aria-rowindex": index + 2, style: { transform: `translateY(${y}px)` } },
    h("span", { role: "cell" }, h("a", { href: hrefOf({ job: job.id }), onClick: follow({ job: job.id }) }, job.id)),
    h("span", { role: "cell" }, job.status),
    h("span", { role: "cell" }, duration(job.delayTime)),
    h("span", { role: "cell" }, duration(job.executionTime)),
    h("span", { role: "cell", title: job.error }, job.error ?? job.workerId ?? "")
  )

/** A link within the page. */
export const follow = (changes: Readonly<Record<string, string>>) => (event: MouseEvent) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return
  event.preventDefault()
  go(changes)
}

export const Jobs = () => {
  const { first, height, jobs, offset, scale, top, total } = useWindow()
  const full = Math.min(total * rowHeight, tallest)
  const statuses = Object.entries(summary.value?.counts ?? {})
  const base = scale === 1 ? 0 : top - first * rowHeight
  return h(
    Section,
    { title: "Jobs" },
    h(
      "form",
      { onSubmit: (event: Event) => event.preventDefault() },
      h(
        "label",
        null,
        "Status ",
        h(
          "select",
          {
            value: params.value.get("status") ?? "",
            onChange: (event: Event) => go({ status: (event.target as HTMLSelectElement).value })
          },
          h("option", { value: "" }, "all"),
          statuses.map(([status, n]) => h("option", { value: status, key: status }, `${status} (${count(n)})`))
        )
      ),
      h(
        "label",
        null,
        "Search ",
        h("input", {
          type: "search",
          value: params.value.get("search") ?? "",
          onInput: (event: Event) => go({ search: (event.target as HTMLInputElement).value }, { replace: true })
        })
      ),
      h("output", { class: "soft" }, `${count(total)} jobs, the newest first`)
    ),
    h(
      "div",
      {
        class: "list",
        role: "table",
        tabIndex: 0,
        "aria-label": "Jobs",
        "aria-rowcount": total + 1,
        onScroll: (event: Event) => {
          const { clientHeight, scrollTop } = event.target as HTMLElement
          scrolled.value = { top: scrollTop, height: clientHeight }
        }
      },
      h(
        "div",
        { role: "rowgroup", class: "head" },
        h(
          "div",
          { role: "row", "aria-rowindex": 1 },
          ["Job", "Status", "Queued", "Running", "Error or worker"].map((name) =>
            h("span", { role: "columnheader", key: name }, name)
          )
        )
      ),
      h(
        "div",
        { role: "rowgroup", class: "rows", style: { height: `${full}px` } },
        jobs
          .map((job, i) => ({ job, index: offset + i }))
          .filter(({ index }) => index >= first - 10 && index <= first + height / rowHeight + 10)
          .map(({ index, job }) => h(Row, { key: job.id, job, index, y: base + index * rowHeight }))
      )
    )
  )
}

const Payload = ({ id }: { id: string }) => {
  const [shown, setShown] = useState<string | undefined>(undefined)
  const reveal = async () => {
    try {
      const payload = await post<unknown>("/api/payload", { source: source.value?.name, id })
      setShown(JSON.stringify(payload, null, 2))
    } catch (error) {
      // The page says what to do about a token that is refused; the button stays for the next one.
      if (!(error instanceof Refused)) setShown(String(error))
    }
  }
  if (!source.value?.actions.includes("payload")) return null
  return h(
    "div",
    { class: "payload" },
    shown === undefined
      ? h("button", { disabled: !hasToken.value, onClick: reveal }, "Show input and output")
      : h("pre", { "aria-label": "Input and output" }, shown)
  )
}

export const OneJob = ({ id }: { id: string }) => {
  const [found, setFound] = useState<{ job: Job; events: ReadonlyArray<JobEvent> } | string>("Loading …")
  const name = source.value?.name ?? ""
  const of = revision.value
  useEffect(() => {
    let isCurrent = true
    get<{ job: Job; events: ReadonlyArray<JobEvent> }>("/api/job", { source: name, id }).then(
      (next) => isCurrent && setFound(next),
      // Without an answer it is fetched again: until then what was found is shown.
      (error: unknown) => isCurrent && error instanceof Problem && setFound(String(error))
    )
    return () => void (isCurrent = false)
  }, [name, id, of])
  const back = h("a", { href: hrefOf({ job: "" }), onClick: follow({ job: "" }) }, "All jobs")
  if (typeof found === "string") return h(Section, { title: id }, h("p", null, found), back)
  const { events, job } = found
  const has = (action: string) => source.value?.actions.includes(action) === true
  return h(
    Section,
    { title: job.id },
    h(
      "p",
      null,
      `${job.status}, submitted ${time(job.createdAt)}, worker ${job.workerId ?? "–"}, started again ${count(job.retries)} times. `,
      back
    ),
    job.error === undefined ? null : h("pre", { class: "bad" }, job.error),
    h(
      "div",
      { class: "row" },
      has("cancel")
        ? h(
            "button",
            {
              disabled: !hasToken.value || !open.includes(job.status),
              onClick: () => act("/api/actions/cancel", { source: name, id: job.jobId ?? id }, "The job is cancelled.")
            },
            "Cancel"
          )
        : null,
      has("retry")
        ? h(
            "button",
            {
              disabled: !hasToken.value || !["FAILED", "TIMED_OUT"].includes(job.status),
              onClick: () =>
                act("/api/actions/retry", { source: name, id: job.jobId ?? id }, "The job is queued again.")
            },
            "Retry"
          )
        : null,
      h(Payload, { id, key: `${life.value} ${id}` })
    ),
    h(Timeline, { job, events, now: newest.value?.at })
  )
}
