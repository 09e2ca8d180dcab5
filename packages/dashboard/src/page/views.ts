/** The views of numbers over time: fleet, batch, limits and cost. */
import { h } from "preact"
import { useState } from "preact/hooks"
import type { Summary } from "../Api.js"
import { Chart } from "./chart.js"
import { count, duration, usd } from "./format.js"
import { Histogram, Numbers, Section } from "./parts.js"
import { act, life, newest, samples, source, summary } from "./state.js"
import { hasToken } from "./token.js"

/** As the sheet of styles has them, for either scheme. */
const colors = { blue: "--blue", green: "--green", orange: "--orange", red: "--red", grey: "--grey" } as const

export const Fleet = () => {
  const sample = newest.value
  const { idle, initializing, running, throttled, unhealthy } = sample?.workers ?? {}
  return [
    h(
      Section,
      { title: "Now" },
      h(Numbers, {
        of: [
          ["Running workers", count(running)],
          ["Idle", count(idle)],
          ["Starting", count(initializing)],
          ["Throttled", count(throttled)],
          ["Unhealthy", count(unhealthy)],
          ["In the queue", count(sample?.inQueue)],
          ["In progress", count(sample?.inProgress)],
          ["Oldest queued", duration(sample?.oldestQueued)]
        ]
      }),
      sample?.diagnosis === undefined ? null : h("p", { class: "notice" }, sample.diagnosis)
    ),
    h(Chart, {
      title: "Workers",
      samples: samples.value,
      series: [
        { label: "running", color: colors.green, of: ({ workers }) => workers.running },
        { label: "idle", color: colors.blue, of: ({ workers }) => workers.idle },
        { label: "starting", color: colors.orange, of: ({ workers }) => workers.initializing },
        { label: "throttled", color: colors.red, of: ({ workers }) => workers.throttled },
        { label: "unhealthy", color: colors.grey, of: ({ workers }) => workers.unhealthy }
      ]
    }),
    h(Chart, {
      title: "Jobs in the queue and in progress",
      samples: samples.value,
      series: [
        { label: "in the queue", color: colors.orange, of: ({ inQueue }) => inQueue },
        { label: "in progress", color: colors.green, of: ({ inProgress }) => inProgress }
      ]
    })
  ]
}

export const Batch = () => {
  const sample = newest.value
  const all = summary.value
  const resume = source.value?.resume
  return [
    h(
      Section,
      { title: "Progress" },
      h("progress", {
        max: Math.max(1, sample?.total ?? 1),
        value: sample?.done ?? 0,
        "aria-label": "Jobs that have ended"
      }),
      h(Numbers, {
        of: [
          ["Ended", `${count(sample?.done)} of ${count(sample?.total)}`],
          ["Failed", count(sample?.failed)],
          ["A second", sample === undefined ? "–" : sample.rate.toFixed(1)],
          ["Left", duration(sample?.eta)]
        ]
      }),
      resume === undefined ? null : h("p", null, "Go on with it: ", h("code", null, resume))
    ),
    h(Chart, {
      title: "Jobs ended a second",
      samples: samples.value,
      series: [{ label: "a second", color: colors.blue, of: ({ rate }) => Math.round(rate * 10) / 10 }]
    }),
    h(Histogram, {
      title: "Time in the queue, on a logarithmic scale",
      bounds: all?.bounds ?? [],
      counts: all?.delays ?? []
    }),
    h(Histogram, {
      title: "Time on a worker, on a logarithmic scale",
      bounds: all?.bounds ?? [],
      counts: all?.executions ?? []
    }),
    h(
      Section,
      { title: "Failures" },
      h(
        "table",
        null,
        h("thead", null, h("tr", null, h("th", null, "Failure"), h("th", null, "Jobs"))),
        h(
          "tbody",
          null,
          (all?.failures ?? []).map(({ count: n, kind }) =>
            h("tr", { key: kind }, h("td", null, kind), h("td", null, count(n)))
          )
        )
      )
    )
  ]
}

const Switches = () => {
  const [max, setMax] = useState("3")
  const { actions = [], faults = [], name } = source.value ?? {}
  // What was switched counts until the second sample after the answer: the first may have been taken before.
  const [switched, setSwitched] = useState<{ readonly names: ReadonlyArray<string>; readonly until: number }>()
  const seq = newest.value?.seq ?? 0
  const active = switched !== undefined && seq < switched.until ? switched.names : (newest.value?.faults ?? [])
  const setFaults = async (names: ReadonlyArray<string>, done: string) => {
    setSwitched({ names, until: Infinity })
    const isDone = await act("/api/actions/faults", { source: name, names }, done)
    const then = isDone ? { names, until: (newest.value?.seq ?? 0) + 2 } : undefined
    // Unless more was switched meanwhile.
    setSwitched((last) => (last?.names === names ? then : last))
  }
  if (!actions.includes("setWorkers") && !actions.includes("setFaults")) return null
  return h(
    Section,
    { title: "Switches of the emulator" },
    hasToken.value
      ? null
      : h(
          "p",
          { class: "notice" },
          "Open the page with the address that was printed: it has the token that switches need."
        ),
    h(
      "form",
      {
        onSubmit: (event: Event) => {
          event.preventDefault()
          void act(
            "/api/actions/workers",
            { source: name, max: Number(max) },
            `The endpoint has ${max} workers at most.`
          )
        }
      },
      h(
        "label",
        null,
        "Workers at most ",
        h("input", {
          type: "number",
          min: 0,
          max: 1000,
          required: true,
          value: max,
          onInput: (event: Event) => setMax((event.target as HTMLInputElement).value)
        })
      ),
      h("button", { disabled: !hasToken.value }, "Set workers")
    ),
    faults.map((fault) =>
      h(
        "p",
        { key: fault },
        h(
          "label",
          null,
          h("input", {
            type: "checkbox",
            disabled: !hasToken.value,
            checked: active.includes(fault),
            onChange: (event: Event) => {
              const isOn = (event.target as HTMLInputElement).checked
              const names = isOn ? [...active, fault] : active.filter((other) => other !== fault)
              void setFaults(names, `${fault}: ${isOn ? "on" : "off"}.`)
            }
          }),
          ` ${fault}`
        )
      )
    )
  )
}

const LimitTable = () => {
  const limits = newest.value?.limits ?? []
  return h(
    Section,
    { title: "Waits for the limits, in the last window of each" },
    limits.length === 0
      ? h("p", { class: "soft" }, "This process has sent no requests to the endpoint.")
      : h(
          "table",
          null,
          h(
            "thead",
            null,
            h(
              "tr",
              null,
              ["Operation", "Limit", "Sent", "Mean wait", "Share of the window"].map((name) =>
                h("th", { key: name, scope: "col" }, name)
              )
            )
          ),
          h(
            "tbody",
            null,
            limits.map(({ limit, meanWait, operation, sent, share, window }) => {
              const percent = `${Math.round(share * 100)} %`
              return h(
                "tr",
                { key: operation },
                h("td", null, operation),
                h("td", null, limit === undefined ? "none" : `${count(limit)} in ${duration(window)}`),
                h("td", null, count(sent)),
                h("td", null, duration(meanWait)),
                h(
                  "td",
                  { class: "share" },
                  h("meter", {
                    max: 1,
                    low: 0.25,
                    high: 0.75,
                    optimum: 0,
                    value: Math.min(1, share),
                    "aria-label": `${operation}: ${percent}`
                  }),
                  ` ${percent}`
                )
              )
            })
          )
        ),
    h(
      "p",
      { class: "soft" },
      "What the requests that were let through in the last window had waited on the average, as a share of that window. 0 %: none had to wait. 50 %: each waited for half a window, because the program sends more than the limit lets through. From 100 % on, at least a whole window of requests stands before each new one. What an answer 429 keeps back counts, too; a request that still waits counts when it is let through."
    )
  )
}

export const Limits = () => {
  const sample = newest.value
  return [
    h(
      Section,
      { title: "Limits" },
      h(Numbers, {
        of: [
          ["Requests", count(sample?.requests)],
          ["Sent again", count(sample?.retries)],
          ["Answers 429", count(sample?.throttles)],
          ["Waited for the limits", duration(sample === undefined ? undefined : sample.limiterWait * 1000)]
        ]
      }),
      h("p", { class: "soft" }, "The wait is that of all requests of this process to the endpoint, added up.")
    ),
    h(Chart, {
      title: "Answers 429, and seconds waited for the limits",
      samples: samples.value,
      series: [
        { label: "answers 429", color: colors.red, of: ({ throttles }) => throttles },
        { label: "seconds waited", color: colors.blue, of: ({ limiterWait }) => Math.round(limiterWait * 10) / 10 }
      ]
    }),
    h(LimitTable, null),
    h(Switches, { key: life.value })
  ]
}

/** How far the figures go. */
const costNote = (cost: Summary["cost"] | undefined): string => {
  if (cost === undefined) return ""
  if (cost.spent === undefined) {
    return "What this costs is not known: the program gives no rate for the workers of this source. The option `cost` of its `Source` takes one."
  }
  const { unpriced } = cost
  const shown =
    "By the time on workers of the jobs that are shown, at the rates that the program gives: at the least what they cost."
  return unpriced === 0
    ? shown
    : `${shown} Without ${unpriced} job${unpriced === 1 ? "" : "s"} on workers for which it gives none.`
}

export const Cost = () => {
  const cost = summary.value?.cost
  return [
    h(
      Section,
      { title: "Cost" },
      h(Numbers, {
        of: [
          ["So far", usd(cost?.spent)],
          ["Expected in all", usd(cost?.expected)],
          ["Wasted on failures", usd(cost?.wasted)],
          ["Budget", usd(cost?.budget)]
        ]
      }),
      cost?.budget === undefined
        ? null
        : h("meter", {
            min: 0,
            max: cost.budget,
            value: cost.spent,
            "aria-label": `Spent ${usd(cost.spent)} of ${usd(cost.budget)}`
          }),
      h("p", { class: "soft" }, costNote(cost))
    ),
    cost?.spent === undefined
      ? null
      : h(Chart, {
          title: "Spent, in cents",
          samples: samples.value,
          series: [{ label: "cents", color: colors.green, of: ({ spent }) => spent && spent * 100 }]
        })
  ]
}
