/** A chart over time, and its numbers as a table. */
import { h } from "preact"
import { useEffect, useRef } from "preact/hooks"
import uPlot from "uplot"
import type { Sample } from "../Api.js"
import { count, time } from "./format.js"

export interface Series {
  readonly label: string
  readonly color: string
  readonly of: (sample: Sample) => number | undefined
}

const textColor = () => getComputedStyle(document.documentElement).getPropertyValue("--text")
const lineColor = () => getComputedStyle(document.documentElement).getPropertyValue("--line")

export const Chart = ({
  samples,
  series,
  title
}: {
  title: string
  samples: ReadonlyArray<Sample>
  series: ReadonlyArray<Series>
}) => {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const data: uPlot.AlignedData = [
    samples.map(({ at }) => at / 1000),
    ...series.map(({ of }) => samples.map((sample) => of(sample) ?? null))
  ]
  useEffect(() => {
    const element = place.current
    if (element === null) return
    const axis = { stroke: textColor, grid: { stroke: lineColor }, ticks: { stroke: lineColor } }
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: 220,
        axes: [axis, axis],
        cursor: { drag: { x: false, y: false } },
        scales: { y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] } },
        series: [{}, ...series.map(({ color, label }) => ({ label, stroke: color, width: 2, fill: `${color}22` }))]
      },
      data,
      element
    )
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: 220 }))
    observer.observe(element)
    const scheme = matchMedia("(prefers-color-scheme: dark)")
    const redraw = () => made.redraw()
    scheme.addEventListener("change", redraw)
    return () => {
      scheme.removeEventListener("change", redraw)
      observer.disconnect()
      made.destroy()
    }
  }, [title])
  useEffect(() => plot.current?.setData(data))
  const rows = samples.slice(-10).reverse()
  return h(
    "section",
    { "aria-label": title },
    h("h2", null, title),
    h("div", { ref: place, role: "img", "aria-label": `${title}, as a chart; the table below has its numbers` }),
    h(
      "details",
      null,
      h("summary", null, "As a table"),
      h(
        "table",
        null,
        h("thead", null, h("tr", null, h("th", null, "Time"), ...series.map(({ label }) => h("th", null, label)))),
        h(
          "tbody",
          null,
          rows.map((sample) =>
            h(
              "tr",
              { key: sample.seq },
              h("td", null, time(sample.at)),
              ...series.map(({ of }) => h("td", null, count(of(sample))))
            )
          )
        )
      )
    )
  )
}
